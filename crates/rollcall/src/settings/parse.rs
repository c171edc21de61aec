//! From the text of one setting to its checked type. An error says what would be right.

use std::{net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:6001 or [::]:6001".to_owned())
}

pub(super) fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

/// A whole number; TOML allows `_` between digits.
pub(super) fn number(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> {
    move |text| {
        let number = text.replace('_', "").parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let (min, max) = (*range.start(), *range.end());
        let duration = humantime::parse_duration(text)
            .map_err(|_| "must be a duration with its unit, such as \"10s\" or \"500ms\"".to_owned())?;
        let (shown_min, shown_max) = (humantime::format_duration(min), humantime::format_duration(max));
        let fits = range.contains(&duration);
        if fits { Ok(duration) } else { Err(format!("must be from {shown_min} to {shown_max}")) }
    }
}

/// A duration that clients are told in whole seconds.
pub(super) fn whole_seconds(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, String> {
    let parse = duration(range);
    move |text| match parse(text)? {
        whole if whole.subsec_nanos() == 0 => Ok(whole),
        _ => Err("must be whole seconds".to_owned()),
    }
}

/// Anything whose own error says what would be right.
pub(super) fn checked<T: FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|wrong: T::Err| wrong.to_string())
}

/// Empty, or `/x` without a slash at the end.
pub(super) fn path_prefix(text: &str) -> Result<String, String> {
    let segment = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
            && part.bytes().any(|byte| byte != b'.')
    };
    let valid = text.is_empty() || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment));
    let hint = "must be empty, or like /rollcall: with a slash before and none after";
    if valid { Ok(text.to_owned()) } else { Err(hint.to_owned()) }
}

/// A host that a browser's `Origin` may have: `example.com`, `*.example.com`, `https://example.com`.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = host.strip_prefix("*.").unwrap_or(host);
    let valid =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte));
    let hint = "must be a host, such as example.com, *.example.com or https://example.com";
    if valid { Ok(text.to_owned()) } else { Err(hint.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_a_slash_before_and_none_after() {
        for valid in ["", "/x", "/a/b-c_d.e~f"] {
            assert_eq!(path_prefix(valid).as_deref(), Ok(valid));
        }
        for invalid in ["/", "x", "/x/", "//x", "/a b", "/..", "/a/./b", "/é"] {
            assert!(path_prefix(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn a_number_is_whole_and_in_range() {
        let check = |text: &str| number(1..=1000)(text).ok();
        assert_eq!([check("1"), check("1_000")], [Some(1), Some(1000)]);
        assert_eq!(["0", "1001", "-1", "1.5", "0x1", "", "ten"].map(check), [None; 7]);
    }

    #[test]
    fn a_duration_names_its_unit() {
        let check = |text: &str| duration(Duration::from_millis(1)..=Duration::from_secs(60))(text).ok();
        assert_eq!(check("10s"), Some(Duration::from_secs(10)));
        assert_eq!(check("1m"), Some(Duration::from_secs(60)));
        assert_eq!(["10", "0s", "61s", "-1s", "", "soon"].map(check), [None; 6]);
        assert!(whole_seconds(Duration::ZERO..=Duration::MAX)("1500ms").is_err());
    }

    #[test]
    fn an_origin_is_a_host() {
        for valid in ["example.com", "*.example.com", "https://example.com", "http://localhost:3000", "[::1]"]
        {
            assert_eq!(origin(valid).as_deref(), Ok(valid));
        }
        for invalid in ["", "https://", "*", "example.com/path", "ftp://example.com", "a b"] {
            assert!(origin(invalid).is_err(), "{invalid:?}");
        }
    }
}
