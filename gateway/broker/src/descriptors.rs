//! Open files: each connection is one, and the usual soft limit of 1,024 lies far below what one
//! process can serve.

use std::io;
use tracing::{debug, warn};

/// Raises the process's soft limit so that `connections` fit, and `beside` files for all else, as
/// far as the hard limit allows; says so where it does not.
pub fn allow(connections: usize, beside: u64) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(beside);
    match raise(wanted) {
        Ok(allowed) if allowed < wanted => {
            let fit = allowed.saturating_sub(beside);
            warn!(connections, fit, "the system allows fewer open files than so many connections need (ulimit -Hn)");
        }
        Ok(allowed) => debug!(allowed, "open files"),
        Err(error) => warn!(%error, "the limit of open files is not known"),
    }
}

fn raise(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit fills the struct that it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    limit.rlim_cur = wanted.min(limit.rlim_max);
    // SAFETY: setrlimit reads the struct that it is given.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(limit.rlim_cur),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_follows_what_is_wanted_up_to_the_hard_one() {
        let before = raise(0).unwrap();
        assert_eq!(raise(before).unwrap(), before, "what is enough is left alone");
        let most = raise(u64::MAX).unwrap();
        assert!(most >= before);
        assert_eq!(raise(0).unwrap(), most);
    }
}
