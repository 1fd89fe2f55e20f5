//! What each detector looks at and with which parameters, in a sentence: for people who ask
//! why an alert was raised.

use crate::{cadence, flatline, group, leap, noise, novel, rate, saturation, shift, silence, spike};

/// The detector behind an alert's kind; none for a kind that is no detector's.
pub fn detector(kind: &str) -> Option<String> {
    Some(match kind {
        "high-high" | "high" | "low" | "low-low" => {
            "a fixed limit of the configuration ([[limit]]), with its deadband and delays".to_owned()
        }
        "spike" => spike::about(),
        "rate" => rate::about(),
        "shift" => shift::about(shift::Span::Short),
        "drift" => shift::about(shift::Span::Long),
        "noise" => noise::about(),
        "flatline" => flatline::about(),
        "saturation" => saturation::about(),
        "silence" => silence::about(),
        "novelty" => novel::about(),
        "group" => group::about(),
        "cadence" => cadence::about(),
        "clock" => leap::about(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::Kind;

    #[test]
    fn every_kind_is_explained() {
        for kind in Kind::ALL {
            let text = super::detector(kind.as_str()).unwrap();
            assert!(text.len() > 40 && !text.ends_with('.'), "{text}");
        }
        assert_eq!(super::detector("flood"), None);
    }
}
