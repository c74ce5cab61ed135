//! Databases of a server: made and dropped through `psql`, so that this crate needs no database driver.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::Context as _;

use crate::binaries::Binaries;

/// Only names that need no quoting anywhere.
pub(crate) fn check_name(name: &str) -> anyhow::Result<()> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let valid = name.len() <= 63 && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
    anyhow::ensure!(starts_well && valid, "{name:?} is no database name: use a-z, 0-9 and _, a letter first");
    Ok(())
}

/// Creates `name` on the server that `admin_url` leads to, unless it exists.
pub(crate) fn create(binaries: &Binaries, admin_url: &str, name: &str) -> anyhow::Result<()> {
    let sql = format!(
        "SELECT 'CREATE DATABASE {name} TEMPLATE template0' \
         WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec\n"
    );
    run(binaries, admin_url, &sql).with_context(|| format!("cannot create database {name}"))
}

/// Drops `name`, whoever is connected to it.
pub(crate) fn drop_forced(binaries: &Binaries, admin_url: &str, name: &str) -> anyhow::Result<()> {
    run(binaries, admin_url, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE);\n"))
}

fn run(binaries: &Binaries, url: &str, sql: &str) -> anyhow::Result<()> {
    let mut psql = Command::new(binaries.tool("psql"))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run psql (Debian, Ubuntu: package `postgresql-client`)")?;
    if let Some(mut stdin) = psql.stdin.take() {
        // If it doesn't listen, it has something to say that tells more than our broken pipe.
        let _ = stdin.write_all(sql.as_bytes());
    }
    let output = psql.wait_with_output().context("psql did not end well")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// For a URL's query.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// `url` with its database replaced.
pub(crate) fn with_database(url: &str, database: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url.split_once("://").context("DATABASE_URL is no URL: it has no `://`")?;
    let (location, query) = rest.split_once('?').map_or((rest, None), |(l, q)| (l, Some(q)));
    let authority = location.split_once('/').map_or(location, |(authority, _)| authority);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{scheme}://{authority}/{database}{query}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_database_of_a_url_is_replaced_and_the_rest_kept() {
        let check = |url, expected| assert_eq!(with_database(url, "x").unwrap(), expected);
        check("postgres://u:p@h:1/a?sslmode=require", "postgres://u:p@h:1/x?sslmode=require");
        check("postgres://h", "postgres://h/x");
        check("postgres://u@localhost/?host=/tmp/s", "postgres://u@localhost/x?host=/tmp/s");
        assert!(with_database("h/a", "x").is_err());
    }

    #[test]
    fn a_name_that_would_need_quoting_is_refused() {
        assert!(check_name("senren_test_1").is_ok());
        for bad in ["", "1a", "A", "a-b", "a'b", "a b"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
