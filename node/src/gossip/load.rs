//! How much a node has to do, as it says.

/// A node's load now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Client connections that are open.
    pub connections: u64,
    /// Requests that are being served, those that wait among them.
    pub in_flight: u64,
    /// Requests that wait for a backend.
    pub queued: u64,
    /// CPU time that its process took of late, in per cent of one CPU.
    pub cpu_percent: u64,
}

impl Load {
    pub(super) fn write(self) -> String {
        let Self {
            connections,
            in_flight,
            queued,
            cpu_percent,
        } = self;
        format!("{connections} {in_flight} {queued} {cpu_percent}")
    }

    /// What a later release says beyond that is passed over.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut figures = text.split(' ').map(|figure| figure.parse().ok());
        let mut next = || figures.next().flatten();
        Some(Self {
            connections: next()?,
            in_flight: next()?,
            queued: next()?,
            cpu_percent: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_read_back_and_nonsense_is_none() {
        let load = Load {
            connections: 7,
            in_flight: 3,
            queued: 2,
            cpu_percent: 150,
        };
        assert_eq!(Load::read(&load.write()), Some(load));
        assert_eq!(Load::read("7 3 2 150 99"), Some(load));
        for bad in ["", "7", "7 3 2", "7 3 x 150", "7  3 2 150", "-7 3 2 1"] {
            assert_eq!(Load::read(bad), None, "{bad}");
        }
    }
}
