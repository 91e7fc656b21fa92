//! What becomes of a palette. PURE.

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// A change of a palette. Only small letters are hexadecimal digits, as in Perlbal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// `tRRGGBB[RRGGBB]`: from dark to light, by what a colour was.
    Tint {
        /// What 255 becomes.
        light: Colour,
        /// What 0 becomes.
        dark: Colour,
    },
    /// `gIIRRGGBBIIRRGGBB`: the colours between two of them.
    Gradient {
        /// The first, and what it becomes.
        from: (u8, Colour),
        /// The last, and what it becomes.
        to: (u8, Colour),
    },
    /// Up to six times `IRRGGBB`: this one becomes that.
    Colours(Vec<(u8, Colour)>),
}

/// Most single colours.
const MAX_COLOURS: usize = 6;

impl Change {
    /// None: it is none.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        match text.split_first()? {
            (b't', rest) => {
                let (light, rest) = colour(rest)?;
                let (dark, rest) = if rest.is_empty() {
                    ([0; 3], rest)
                } else {
                    colour(rest)?
                };
                rest.is_empty().then_some(Self::Tint { light, dark })
            }
            (b'g', rest) => {
                let (first, rest) = byte(rest)?;
                let (first_colour, rest) = colour(rest)?;
                let (last, rest) = byte(rest)?;
                let (last_colour, rest) = colour(rest)?;
                rest.is_empty().then_some(Self::Gradient {
                    from: (first, first_colour),
                    to: (last, last_colour),
                })
            }
            _ => Self::colours(text),
        }
    }

    fn colours(text: &[u8]) -> Option<Self> {
        let groups = text.chunks(7).map(|group| {
            let (index, rest) = group.split_first()?;
            let (colour, rest) = colour(rest)?;
            rest.is_empty().then_some((digit(*index)?, colour))
        });
        let colours: Vec<_> = groups.collect::<Option<_>>()?;
        (colours.len() <= MAX_COLOURS).then_some(Self::Colours(colours))
    }

    /// Changes a palette; an index beyond it is passed over.
    pub(super) fn apply(&self, palette: &mut [u8]) {
        match self {
            Self::Tint { light, dark } => {
                for was in palette.chunks_exact_mut(3) {
                    for ((value, light), dark) in was.iter_mut().zip(light).zip(dark) {
                        *value = between(*dark, *light, u32::from(*value), 255);
                    }
                }
            }
            Self::Gradient { from, to } => {
                let span = u32::from(to.0.saturating_sub(from.0));
                for (step, index) in (0..).zip(from.0..=to.0) {
                    let mut colour = from.1;
                    for (value, last) in colour.iter_mut().zip(to.1) {
                        *value = between(*value, last, step, span.max(1));
                    }
                    set(palette, index, colour);
                }
            }
            Self::Colours(colours) => {
                for (index, colour) in colours {
                    set(palette, *index, *colour);
                }
            }
        }
    }
}

/// `from + (to - from) · part / whole`, its fraction cut.
fn between(from: u8, to: u8, part: u32, whole: u32) -> u8 {
    let (from, to) = (i64::from(from), i64::from(to));
    let (part, whole) = (i64::from(part), i64::from(whole));
    let value = (from * whole + (to - from) * part) / whole;
    u8::try_from(value).unwrap_or(u8::MAX)
}

fn set(palette: &mut [u8], index: u8, colour: Colour) {
    if let Some(was) = palette.chunks_exact_mut(3).nth(index.into()) {
        was.copy_from_slice(&colour);
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let [high, low] = digits else { return None };
    Some((digit(*high)? * 16 + digit(*low)?, rest))
}

fn colour(text: &[u8]) -> Option<(Colour, &[u8])> {
    let (red, text) = byte(text)?;
    let (green, text) = byte(text)?;
    let (blue, text) = byte(text)?;
    Some(([red, green, blue], text))
}
