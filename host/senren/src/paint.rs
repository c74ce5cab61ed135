//! Colours: what a text says of how things are.

/// How a text is painted on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Not at all.
    Plain,
    /// As it should be.
    Good,
    /// On its way, or to be looked at.
    Moving,
    /// Wrong, or lost.
    Bad,
}

impl Paint {
    /// Of a phase of a resource or region.
    pub fn of_phase(phase: &str) -> Self {
        match phase {
            "Ready" | "Connected" => Paint::Good,
            "Failed" | "Degraded" | "Unknown" | "Silent" => Paint::Bad,
            _ => Paint::Moving,
        }
    }

    /// `text`, painted if `colour` says so.
    pub fn on(self, text: &str, colour: bool) -> String {
        let code = match self {
            _ if !colour => return text.to_owned(),
            Paint::Plain => return text.to_owned(),
            Paint::Good => "32",
            Paint::Moving => "33",
            Paint::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
