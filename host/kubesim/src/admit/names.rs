//! The forms of names: DNS labels and subdomains, qualified names, label values.

/// RFC 1123 label, at most 63 characters.
pub const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
/// RFC 1123 subdomain, at most 253 characters.
pub const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with a name that must be an RFC 1123 label.
pub fn label(name: &str) -> Option<String> {
    too_long(name, 63).or_else(|| (!is_label(name)).then(|| LABEL.to_owned()))
}

/// What is wrong with a label that people may take for a subdomain.
pub fn undotted_label(name: &str) -> Option<String> {
    if name.contains('.') { Some("must not contain dots".into()) } else { label(name) }
}

/// What is wrong with a name that must be an RFC 1123 subdomain.
pub fn subdomain(name: &str) -> Option<String> {
    too_long(name, 253).or_else(|| (!name.split('.').all(is_label)).then(|| SUBDOMAIN.to_owned()))
}

/// What is wrong with the key of a label or an annotation, or with a finalizer.
pub fn qualified(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Some("prefix part must be non-empty".into());
        }
        if let Some(problem) = subdomain(prefix) {
            return Some(format!("prefix part {problem}"));
        }
    }
    if name.is_empty() {
        return Some("name part must be non-empty".into());
    }
    too_long(name, 63)
        .map(|p| format!("name part {p}"))
        .or_else(|| (!is_word(name)).then(|| QUALIFIED.to_owned()))
}

/// What is wrong with the value of a label.
pub fn label_value(value: &str) -> Option<String> {
    too_long(value, 63).or_else(|| (!value.is_empty() && !is_word(value)).then(|| LABEL_VALUE.to_owned()))
}

fn too_long(text: &str, limit: usize) -> Option<String> {
    (text.len() > limit).then(|| format!("must be no more than {limit} characters"))
}

fn is_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty()
        && text.chars().all(|c| edge(c) || c == '-')
        && text.starts_with(edge)
        && text.ends_with(edge)
}

fn is_word(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
        && text.starts_with(edge)
        && text.ends_with(edge)
}
