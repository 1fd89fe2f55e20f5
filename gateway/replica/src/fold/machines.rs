//! What machines say, among the alerts.

use super::Fold;
use crate::machine::ended;
use detect::{Finding, Kind};

impl Fold {
    /// A machine that had an alert is no more.
    pub(crate) fn disbanded(&mut self, name: String) {
        let mut finding = ended("the configuration of groups changed: it is learnt anew".to_owned());
        finding.time_ms = self.clock_ms;
        let leaves = self.alarms.board.get(&name, Kind::Group.as_str()).is_some_and(|alarm| alarm.leaves);
        self.alert(name, None, leaves, finding);
    }

    /// A machine spoke. It leaves the site only if all of its series do.
    #[cold]
    pub(crate) fn raise_machine(&mut self, at: u32, mut finding: Finding) {
        let Some(machine) = self.machines.all.get(at as usize) else { return };
        if finding.time_ms == 0 {
            finding.time_ms = self.clock_ms;
        }
        let leaves = machine.members.iter().all(|number| self.series.get(*number as usize).is_some_and(|series| series.leaves));
        let name = machine.name.clone();
        self.alert(name, None, leaves, finding);
    }
}
