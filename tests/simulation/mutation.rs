//! Deliberate breaks of the protocol, each at a seam between the real state machines and the
//! simulated world: a message changed under way, a record kept from a fold, a disk that lies
//! to its owner. The product has no hooks for them.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The protocol as it is.
    None,
    /// The gateway acknowledges a sensor before its commit.
    SensorAckBeforeCommit,
    /// The cloud folds and acknowledges an interval before its commit.
    CloudAckBeforeCommit,
    /// The gateway sends what follows from records that are not durable.
    SendsUncommitted,
    /// An ack says one record more than is in.
    AppliedTooFar,
    /// Intervals end at the log's end, beyond the births of open entries.
    ToBeyondOpenBirths,
    /// Of two versions of an entry the lower one wins.
    VersionReversed,
    /// The cloud remembers urgent alerts only until its next start.
    AlertForgotten,
    /// A process start takes the boot of the one before.
    BootReused,
    /// The log was cut, and the snapshot behind it is not read.
    SnapshotMissing,
    /// A snapshot names a record before the one it stands for, so that some are folded twice.
    SnapshotTooEarly,
    /// The cloud forgets a boot when its gateway begins another.
    BootForgotten,
    /// Whole intervals with `to` at or below `applied` are ignored.
    IntervalIgnored,
    /// An interval carries only entries whose version lies within it.
    VersionsOnly,
    /// A redelivery is taken for a new message.
    RedeliveryCounted,
    /// The cursor goes ahead of what was published.
    CursorAhead,
    /// An ack is taken for the living boot's, whichever boot it names.
    AckOfAnotherBoot,
    /// A gateway believes that the cloud of now holds what one before it did, while its process lives.
    HeldBefore,
    /// The cloud takes an interval that leaves out what one before it held.
    UnderWayBefore,
    /// Entries ahead count as applied.
    AheadApplied,
    /// `applied` passes entries that were given up, without their marks.
    MarksPassed,
    /// A snapshot names pages that are gone.
    PagesMissing,
    /// What a cloud lost is not looked for in the log.
    NotHealed,
    /// What a cloud lost is folded again from the newest state.
    HealedFromNewest,
    /// The cloud remembers ordinary messages only until its next start.
    CrossForgotten,
    /// What it publishes for a gateway comes in again, as a client's.
    CrossEchoed,
    /// A gateway says that it has the cloud's messages before its commit.
    CrossDoneEarly,
    /// Members of a redundancy group speak as if they were of none.
    GroupSummed,
    /// Nobody looks whether two speak under one boot: neither the running hashes of logs are
    /// compared, nor which interval follows which.
    HashNotCompared,
    /// A log is folded across a damaged part as if nothing had been there.
    GapNotDeclared,
    /// Behind a damaged part the clock goes on from where it stood before.
    GapTakesNoTime,
    /// The cloud is not told that a boot's log is damaged.
    HoleNotTold,
    /// Readings that come before the clock is set are taken as if it were.
    UndatedTaken,
    /// That the clock was set is not logged.
    ClockSetUnsaid,
    /// Every window is called complete.
    CompleteAlways,
    /// No window is called complete.
    CompleteNever,
    /// An interval tells the clock of now, whatever it ends with.
    FrontierAhead,
    /// An acknowledgement that the log did not take is not logged later.
    AckNotRetried,
    /// An offer that the log did not take is believed to be in it.
    OfferBelieved,
    /// The cloud's state is read back, and its windows are not.
    StoreStale,
    /// What no broker is known to have taken is not published again.
    UnpublishedForgotten,
    /// What is urgent goes behind all else that a round has to say.
    AlertsBehind,
}

impl Mutation {
    pub const ALL: [Self; 41] = [
        Self::SensorAckBeforeCommit,
        Self::CloudAckBeforeCommit,
        Self::SendsUncommitted,
        Self::AppliedTooFar,
        Self::ToBeyondOpenBirths,
        Self::VersionReversed,
        Self::AlertForgotten,
        Self::BootReused,
        Self::SnapshotMissing,
        Self::SnapshotTooEarly,
        Self::BootForgotten,
        Self::IntervalIgnored,
        Self::VersionsOnly,
        Self::RedeliveryCounted,
        Self::CursorAhead,
        Self::AckOfAnotherBoot,
        Self::HeldBefore,
        Self::UnderWayBefore,
        Self::AheadApplied,
        Self::MarksPassed,
        Self::PagesMissing,
        Self::NotHealed,
        Self::HealedFromNewest,
        Self::CrossForgotten,
        Self::CrossEchoed,
        Self::CrossDoneEarly,
        Self::GroupSummed,
        Self::HashNotCompared,
        Self::GapNotDeclared,
        Self::GapTakesNoTime,
        Self::HoleNotTold,
        Self::UndatedTaken,
        Self::ClockSetUnsaid,
        Self::CompleteAlways,
        Self::CompleteNever,
        Self::FrontierAhead,
        Self::AckNotRetried,
        Self::OfferBelieved,
        Self::StoreStale,
        Self::UnpublishedForgotten,
        Self::AlertsBehind,
    ];
}
