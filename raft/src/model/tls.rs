//! What may be chosen of TLS: versions of the protocol, and cipher suites in the words of OpenSSL.
//!
//! The suites are those of rustls: forward secret and authenticated, all of them. What OpenSSL has beyond them is
//! refused by name where it is asked for, and ignored where it is ruled out.

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Protocol {
    /// All of them, as they are written.
    const ALL: [(&'static str, Self); 2] = [("TLSv1.2", Self::Tls12), ("TLSv1.3", Self::Tls13)];

    /// Reads versions, separated by blanks or commas.
    ///
    /// # Errors
    /// Which word is none, for the parameter `key`.
    pub(super) fn parse_list(key: &str, text: &str) -> Result<Vec<Self>, String> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let mut protocols = words
            .map(|word| {
                let known = Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
                known.map(|(_, protocol)| *protocol).ok_or_else(|| {
                    format!("Unknown protocol '{word}' for parameter '{key}': there are TLSv1.2 and TLSv1.3")
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        protocols.sort_unstable();
        protocols.dedup();
        if protocols.is_empty() {
            return Err(format!(
                "Expecting TLSv1.2, TLSv1.3 or both for parameter '{key}'"
            ));
        }
        Ok(protocols)
    }
}

/// A cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CipherSuite {
    /// Its number (IANA).
    pub number: u16,
    /// OpenSSL's name.
    openssl: &'static str,
    /// The name of the standard, where OpenSSL has another.
    iana: &'static str,
    /// The words of a list that mean it, among others.
    words: &'static [&'static str],
}

const fn suite(
    number: u16,
    openssl: &'static str,
    iana: &'static str,
    words: &'static [&'static str],
) -> CipherSuite {
    CipherSuite {
        number,
        openssl,
        iana,
        words,
    }
}

/// The suites of TLS 1.3. A list without any of them leaves them all on, as with OpenSSL, whose lists are of 1.2.
const TLS13: [CipherSuite; 3] = [
    suite(0x1302, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", &[]),
    suite(0x1301, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", &[]),
    suite(
        0x1303,
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        &[],
    ),
];

/// The suites of TLS 1.2, the preferred first.
const TLS12: [CipherSuite; 6] = [
    suite(
        0xc02c,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        &["ECDSA", "AECDSA", "AES", "AES256", "AESGCM", "SHA384"],
    ),
    suite(
        0xc02b,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        &["ECDSA", "AECDSA", "AES", "AES128", "AESGCM", "SHA256"],
    ),
    suite(
        0xcca9,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        &["ECDSA", "AECDSA", "CHACHA20"],
    ),
    suite(
        0xc030,
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        &["RSA", "ARSA", "AES", "AES256", "AESGCM", "SHA384"],
    ),
    suite(
        0xc02f,
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        &["RSA", "ARSA", "AES", "AES128", "AESGCM", "SHA256"],
    ),
    suite(
        0xcca8,
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        &["RSA", "ARSA", "CHACHA20"],
    ),
];

/// Words that mean every suite of TLS 1.2.
const EVERY: [&str; 10] = [
    "ALL", "DEFAULT", "HIGH", "TLSV1.2", "ECDHE", "EECDH", "KECDHE", "KEECDH", "ECDH", "AEAD",
];

/// Words of OpenSSL for what is not there, so that lists which rule it out can be used as they are.
const NOTHING: [&str; 40] = [
    "LOW",
    "MEDIUM",
    "EXP",
    "EXPORT",
    "EXPORT40",
    "EXPORT56",
    "ANULL",
    "ENULL",
    "NULL",
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "ADH",
    "AECDH",
    "DH",
    "EDH",
    "DHE",
    "KEDH",
    "KDHE",
    "KRSA",
    "DSS",
    "ADSS",
    "PSK",
    "KPSK",
    "APSK",
    "SRP",
    "KSRP",
    "3DES",
    "DES",
    "RC4",
    "RC2",
    "IDEA",
    "SEED",
    "CAMELLIA",
    "ARIA",
    "MD5",
    "SHA1",
    "SHA",
    "AESCCM",
    "SSLV2",
    "SSLV3",
];

/// Reads a list of cipher suites as OpenSSL does: words separated by `:`, `,` or blanks, each with `!`, `-` or `+`
/// before it, or several joined by `+`. The suites are those of TLS 1.2 and 1.3, the preferred first.
///
/// # Errors
/// Which word is not known or asks for what is not there, or that nothing is left; for the parameter `key`.
pub(super) fn parse_ciphers(key: &str, text: &str) -> Result<Vec<CipherSuite>, String> {
    let mut list = CipherList::default();
    for word in text.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
        list.take(key, word)?;
    }
    if list.tls12.is_empty() && list.tls13.is_empty() {
        return Err(format!(
            "No cipher suite is left of '{text}' for parameter '{key}'"
        ));
    }
    if list.tls13.is_empty() {
        list.tls13.extend(TLS13);
    }
    Ok([list.tls13, list.tls12].concat())
}

#[derive(Default)]
struct CipherList {
    tls13: Vec<CipherSuite>,
    tls12: Vec<CipherSuite>,
    /// Ruled out for good.
    killed: Vec<u16>,
}

impl CipherList {
    fn take(&mut self, key: &str, word: &str) -> Result<(), String> {
        if word.starts_with('@') {
            return known_order(word)
                .then_some(())
                .ok_or_else(|| format!("Unknown word '{word}' for parameter '{key}'"));
        }
        let (sign, name) = match word.as_bytes().first() {
            Some(sign @ (b'!' | b'-' | b'+')) => (Some(*sign), word.get(1..).unwrap_or_default()),
            _ => (None, word),
        };
        let meant = meant(name);
        match sign {
            Some(b'!') => {
                self.killed
                    .extend(meant.iter().flatten().map(|suite| suite.number));
                self.remove(meant.as_deref().unwrap_or_default());
            }
            Some(b'-') => self.remove(meant.as_deref().unwrap_or_default()),
            _ => {
                let meant = meant.filter(|meant| !meant.is_empty() || sign.is_some());
                let meant = meant.ok_or_else(|| unknown(key, name))?;
                self.add(&meant, sign.is_some());
            }
        }
        Ok(())
    }

    fn add(&mut self, suites: &[CipherSuite], moves: bool) {
        for suite in suites {
            let list = if TLS13.contains(suite) {
                &mut self.tls13
            } else {
                &mut self.tls12
            };
            let was_there = list.contains(suite);
            if moves && was_there {
                list.retain(|other| other != suite);
            }
            if moves == was_there && !self.killed.contains(&suite.number) {
                list.push(*suite);
            }
        }
    }

    fn remove(&mut self, suites: &[CipherSuite]) {
        self.tls12.retain(|suite| !suites.contains(suite));
        self.tls13.retain(|suite| !suites.contains(suite));
    }
}

/// Words that order OpenSSL's list; the order here is that of strength already.
fn known_order(word: &str) -> bool {
    word.eq_ignore_ascii_case("@STRENGTH") || word.to_ascii_uppercase().starts_with("@SECLEVEL=")
}

fn unknown(key: &str, name: &str) -> String {
    let names: Vec<_> = TLS13.iter().chain(&TLS12).map(|suite| suite.openssl).collect();
    format!(
        "Cipher '{name}' is not available for parameter '{key}': there are {}",
        names.join(", ")
    )
}

/// The suites that a word, or several joined by `+`, means. None: it is no word that is known.
fn meant(name: &str) -> Option<Vec<CipherSuite>> {
    if let Some(suite) = TLS13
        .iter()
        .chain(&TLS12)
        .find(|suite| suite.openssl.eq_ignore_ascii_case(name) || suite.iana.eq_ignore_ascii_case(name))
    {
        return Some(vec![*suite]);
    }
    let words: Vec<_> = name.split('+').map(str::to_ascii_uppercase).collect();
    let is_known = |word: &str| {
        EVERY.contains(&word)
            || NOTHING.contains(&word)
            || TLS12.iter().any(|suite| suite.words.contains(&word))
    };
    words.iter().all(|word| is_known(word)).then(|| {
        let fits = |suite: &CipherSuite| {
            words
                .iter()
                .all(|word| EVERY.contains(&&**word) || suite.words.contains(&&**word))
        };
        TLS12.into_iter().filter(fits).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<&'static str>, String> {
        let suites = parse_ciphers("c", text)?;
        Ok(suites
            .iter()
            .filter(|suite| !TLS13.contains(suite))
            .map(|suite| suite.openssl)
            .collect())
    }

    #[test]
    fn reads_lists_of_openssl() {
        assert_eq!(names("ALL:!LOW:!EXP").unwrap().len(), 6);
        assert_eq!(names("HIGH:!aNULL:!MD5:!3DES:@STRENGTH").unwrap().len(), 6);
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384").unwrap(),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(
            names("ECDHE+AESGCM+RSA:!AES256").unwrap(),
            ["ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(
            names("CHACHA20:ECDSA+AES128:+CHACHA20").unwrap(),
            [
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "ECDHE-RSA-CHACHA20-POLY1305"
            ]
        );
        // What is ruled out for good does not come back; what is merely taken out does.
        assert_eq!(names("ALL:!AES:ALL").unwrap().len(), 2);
        assert_eq!(names("ALL:-AES:ALL").unwrap().len(), 6);
    }

    #[test]
    fn suites_of_1_3_are_all_on_unless_some_are_named() {
        let all = parse_ciphers("c", "ECDHE-RSA-AES128-GCM-SHA256").unwrap();
        assert_eq!(all.len(), 4);
        let one = parse_ciphers("c", "TLS_AES_128_GCM_SHA256:HIGH").unwrap();
        assert_eq!(one.iter().filter(|suite| suite.number < 0x2000).count(), 1);
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        for bad in [
            "RC4-SHA",
            "DHE-RSA-AES128-GCM-SHA256",
            "nonsense",
            "LOW",
            "ALL:kRSA",
            "!",
        ] {
            assert!(parse_ciphers("c", bad).is_err(), "{bad}");
        }
        let error = parse_ciphers("c", "ALL:RC4-SHA").unwrap_err();
        assert!(
            error.starts_with("Cipher 'RC4-SHA' is not available for parameter 'c': there are TLS_AES_256"),
            "{error}"
        );
        for empty in ["", "ALL:!ALL", "@STRENGTH"] {
            assert!(
                parse_ciphers("c", empty).unwrap_err().contains("No cipher suite"),
                "{empty}"
            );
        }
        assert_eq!(
            parse_ciphers("c", "ALL:@nonsense"),
            Err("Unknown word '@nonsense' for parameter 'c'".to_owned())
        );
    }

    #[test]
    fn reads_protocols() {
        let both = vec![Protocol::Tls12, Protocol::Tls13];
        assert_eq!(Protocol::parse_list("p", "tlsv1.3, TLSv1.2 TLSv1.3"), Ok(both));
        assert_eq!(Protocol::parse_list("p", "TLSv1.3"), Ok(vec![Protocol::Tls13]));
        assert_eq!(
            Protocol::parse_list("p", "TLSv1.2 SSLv3"),
            Err("Unknown protocol 'SSLv3' for parameter 'p': there are TLSv1.2 and TLSv1.3".to_owned())
        );
        assert!(Protocol::parse_list("p", " ").is_err());
    }
}
