//! What counts of redundant gateways, which hear the same sensors: of a group, per published
//! window, its fullest member's readings (by count, then by name), and never the sum.
//!
//! A boot is of the group that its process was configured for; what it told under another
//! config keeps its meaning. A member's count in a window only grows, so the largest of them
//! does: no figure goes down, and nothing is counted twice. The choice is made for each published
//! window by itself. So a minute of which each member heard another half counts the fuller half,
//! while its windows of ten seconds count in full: partial overlaps are not united.

use std::collections::BTreeMap;
use telemetry::aggregate::Aggregate;
use telemetry::digest;

/// One boot's entry of a window that a published window is added up from.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Who gave it.
    pub gateway: &'a str,
    /// The boot's redundancy group.
    pub group: Option<&'a str>,
    /// The boot.
    pub boot: u64,
    /// Start of its window.
    pub start_ms: i64,
    /// Seq of the record that opened it.
    pub born: u64,
    /// Its readings.
    pub aggregate: &'a Aggregate,
}

/// A published window's readings.
#[derive(Debug, Clone, PartialEq)]
pub struct Sum {
    /// Of all gateways without a group, and of each group's fullest member.
    pub aggregate: Aggregate,
    /// What each gave, counted or not.
    pub gateways: BTreeMap<String, u64>,
    /// None without a group. True: of every group at least two members gave readings, each member
    /// that had the series lately did, and all gave the same by count and digest.
    pub agree: Option<bool>,
}

/// A member of a group that had the series lately.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its number at the cloud.
    pub number: u32,
    /// Its name.
    pub name: &'a str,
    /// Its group.
    pub group: &'a str,
    /// All that its boots accepted up to the window's end and its grace is in.
    pub is_past: bool,
}

/// Count and digest of what the members of groups gave: by group, then by name.
type Shares<'a> = BTreeMap<&'a str, BTreeMap<&'a str, (u64, Option<u64>)>>;

fn shares<'a>(pieces: &[Piece<'a>]) -> Shares<'a> {
    let mut shares = Shares::new();
    for piece in pieces {
        let Some(group) = piece.group else { continue };
        let share = shares.entry(group).or_default().entry(piece.gateway).or_insert((0, Some(0)));
        *share = (share.0.saturating_add(piece.aggregate.count()), digest::merged(share.1, piece.aggregate.digest()));
    }
    shares
}

/// The fullest, the first by name of several.
fn fullest<'a>(members: &BTreeMap<&'a str, (u64, Option<u64>)>) -> Option<&'a str> {
    let mut best: Option<(&str, u64)> = None;
    for (name, (count, _)) in members {
        if best.is_none_or(|(_, most)| *count > most) {
            best = Some((name, *count));
        }
    }
    best.map(|(name, _)| name)
}

/// Adds the pieces up in the canonical order (gateway, boot, start, born), in which they are
/// left; none for no pieces. `members` are those that had the series lately, as group and name.
pub fn sum(pieces: &mut [Piece<'_>], members: &[(&str, &str)]) -> Option<Sum> {
    pieces.sort_by_key(|p| (p.gateway, p.boot, p.start_ms, p.born));
    let shares = shares(pieces);
    let chosen: BTreeMap<&str, &str> = shares.iter().filter_map(|(group, members)| Some((*group, fullest(members)?))).collect();
    let mut aggregate: Option<Aggregate> = None;
    let mut gateways: BTreeMap<String, u64> = BTreeMap::new();
    for piece in pieces.iter() {
        match gateways.get_mut(piece.gateway) {
            Some(count) => *count = count.saturating_add(piece.aggregate.count()),
            None => drop(gateways.insert(piece.gateway.to_owned(), piece.aggregate.count())),
        }
        if piece.group.is_some_and(|group| chosen.get(group) != Some(&piece.gateway)) {
            continue;
        }
        match &mut aggregate {
            Some(sum) => sum.merge(piece.aggregate),
            None => aggregate = Some(piece.aggregate.clone()),
        }
    }
    let agrees = |(group, given): (&&str, &BTreeMap<&str, (u64, Option<u64>)>)| {
        let first = given.values().next().filter(|(_, digest)| digest.is_some());
        let all_gave = members.iter().filter(|(of, _)| of == group).all(|(_, name)| given.contains_key(name));
        all_gave && given.len() >= 2 && first.is_some_and(|first| given.values().all(|share| share == first))
    };
    let agree = (!shares.is_empty()).then(|| shares.iter().all(agrees));
    Some(Sum { aggregate: aggregate?, gateways, agree })
}

/// The members that hold a window of their group back, if some do: a group is in as soon as one
/// member that no other surpasses is, so each of those may be the one to wait for. Another that is
/// away may still bring a fuller window, which is then a later revision; but redundancy is there so
/// that nobody waits for who is away.
pub fn blockers<'a>(pieces: &[Piece<'_>], members: impl Iterator<Item = Member<'a>>) -> Vec<u32> {
    let shares = shares(pieces);
    let mut groups: BTreeMap<&str, Vec<(u64, Member<'a>)>> = BTreeMap::new();
    for member in members {
        let count = shares.get(member.group).and_then(|of| of.get(member.name)).map_or(0, |(count, _)| *count);
        groups.entry(member.group).or_default().push((count, member));
    }
    let blocking = groups.values().find_map(|members| {
        let most = members.iter().map(|(count, _)| *count).max()?;
        let full = members.iter().filter(|(count, _)| *count == most).map(|(_, member)| member);
        if full.clone().any(|member| member.is_past) { None } else { Some(full.map(|member| member.number).collect()) }
    });
    blocking.unwrap_or_default()
}

#[cfg(test)]
mod tests;
