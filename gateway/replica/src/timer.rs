//! All timers of the gateway's end of the link: when each fires, and what then. Times are ms of
//! a clock that never goes back and that nobody can set.

/// What the uplink waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// An interval is due, the window and the budget have room, and the cloud has not asked for
    /// a pause: it is computed and sent.
    Interval,
    /// The oldest interval under way should have been answered: it is taken for lost, and what
    /// builds on it goes again.
    Answer,
    /// Nothing was heard for so long, while an answer is owed, that the connection is given up.
    DeafIntervals,
    /// An alert waits to go, for the first time or because its receipt did not come.
    Alert,
    /// As [`Timer::DeafIntervals`], for the alerts' connection and receipts.
    DeafAlerts,
    /// An alert has no receipt for so long that people at the plant are told.
    Unheard,
    /// Nothing shows the cloud that this gateway lives: the hello goes again.
    Beat,
}

impl Timer {
    /// All of them.
    pub const ALL: [Timer; 7] =
        [Self::Interval, Self::Answer, Self::DeafIntervals, Self::Alert, Self::DeafAlerts, Self::Unheard, Self::Beat];
}
