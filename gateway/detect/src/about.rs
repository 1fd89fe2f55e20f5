//! What each detector looks at and with which parameters, in a sentence: for people who ask
//! why an alert was raised.

use crate::{cadence, flatline, group, leap, noise, novel, rate, saturation, shift, silence, spike};

/// The detector behind an alert's kind, and its baseline, if it has one; none for a kind that is no detector's.
pub fn detector(kind: &str, baseline: Option<f64>) -> Option<String> {
    Some(match kind {
        "high" | "low" if baseline.is_some() => {
            "a dynamic limit of the configuration ([[limit]]): so far from what is usual at this hour of the day, with its deadband and delays"
                .to_owned()
        }
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
            let text = super::detector(kind.as_str(), None).unwrap();
            assert!(text.len() > 40 && !text.ends_with('.'), "{text}");
        }
        assert_eq!(super::detector("flood", None), None);
        assert_ne!(super::detector("high", Some(20.0)), super::detector("high", None), "a dynamic one is called so");
    }
}
