//! What is refused when it is loaded, in which words; and that compiled code is only taken from where it is safe.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use senren_engine::{Engine, EngineConfig, Limits, PluginSet, Plugins};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[track_caller]
fn refused(wasm: &[u8], message: &str) {
    let error = common::engine(Limits::default()).load("dir/some.wasm", wasm).unwrap_err().to_string();
    assert!(error.starts_with("dir/some.wasm: "), "{error}");
    assert!(error.contains(message), "{error}");
}

#[test]
fn what_is_no_component_is_refused() {
    refused(b"", "the file is empty");
    refused(b"#!/bin/sh\necho", "does not begin as a .wasm file does");
    refused(b"(component)", "does not begin as a .wasm file does");
    refused(&component("(module)"), "it is a core module");
    refused(b"\0asm\x02\0\0\0", "an unknown version of WebAssembly");
    refused(b"\0asm\x0d\0\x01\0garbage", "can't be compiled");
    let whole = common::misbehaving_wasm();
    refused(&whole[..whole.len() / 2], "can't be compiled");
}

#[test]
fn imports_are_refused_and_all_named() {
    let text = r#"(component
        (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64)))))
        (import "print" (func (param "text" string))))"#;
    refused(&component(text), r#"imports "wasi:clocks/wall-clock@0.2.0", "print"; a plugin may not import"#);
}

#[test]
fn another_contract_is_refused() {
    refused(
        &component("(component)"),
        "it exports nothing, and must export `senren:plugin/controller@1.0.0`",
    );
    let exporting =
        |name: &str| component(&format!(r#"(component (instance $i) (export "{name}" (instance $i)))"#));
    refused(&exporting("other:thing/api@1.0.0"), "it exports other:thing/api@1.0.0, but not");
    refused(
        &exporting("senren:plugin/controller@2.0.0"),
        "it speaks `senren:plugin/controller@2.0.0`, but this host speaks `senren:plugin/controller@1.0.0`",
    );
    refused(&exporting("senren:plugin/controller@1.0.0"), "not a plugin that this version of senren can use");
}

#[test]
fn a_component_that_needs_too_much_memory_is_refused() {
    refused(
        &component("(component (core module $m (memory 20000)) (core instance (instantiate $m)))"),
        "exceeds",
    );
}

#[test]
fn of_plugins_that_are_in_each_others_way_the_first_serves() {
    let engine = common::engine(Limits::default());
    let load = |origin: &str| engine.load(origin, common::misbehaving_wasm()).unwrap();
    let (set, problems) = PluginSet::of(vec![load("a.wasm"), load("b.wasm")]);
    assert_eq!(set.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["misbehaving"]);
    assert_eq!(set.get("misbehaving").unwrap().plugin.origin(), "a.wasm");
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("b.wasm: the plugin is called \"misbehaving\", as is the one in a.wasm"),
        "{told:?}"
    );
}

#[test]
fn holders_of_the_handle_see_a_set_that_replaced_another() {
    let plugins = Plugins::new(PluginSet::default());
    let held = plugins.clone();
    let before = held.current();
    let plugin = common::misbehaving(Limits::default());
    assert_eq!(plugin.digest().len(), 64);
    plugins.swap(PluginSet::of(vec![plugin]).0);
    assert!(before.get("misbehaving").is_none());
    assert!(held.current().get("misbehaving").is_some());
}

fn with_cache(dir: &Path) -> anyhow::Result<Engine> {
    Engine::new(EngineConfig { threads: 2, cache_dir: Some(dir.to_owned()), ..EngineConfig::default() })
}

#[test]
fn compiled_code_is_kept_and_damaged_code_is_compiled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("new/cache");
    with_cache(&cache).unwrap().load("x", common::misbehaving_wasm()).unwrap();
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let compiled = fs::read(&files[0]).unwrap();

    let check = |content: &[u8]| {
        fs::write(&files[0], content).unwrap();
        with_cache(&cache).unwrap().load("x", common::misbehaving_wasm()).unwrap();
        assert!(fs::read(&files[0]).unwrap() == compiled, "what was damaged is whole again");
    };
    let mut flipped = compiled.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    check(&flipped);
    check(&compiled[..compiled.len() - 1]);
    check(b"");
    check(&compiled);
}

#[test]
fn what_was_not_used_for_longest_leaves_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let files = || {
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect::<std::collections::BTreeSet<_>>()
    };
    let load = |cache_bytes: u64, number: u8| {
        let config =
            EngineConfig { cache_dir: Some(dir.path().to_owned()), cache_bytes, ..EngineConfig::default() };
        let plugin =
            Engine::new(config).unwrap().load("x", &common::another(common::misbehaving_wasm(), number));
        // Times of files are not finer than this everywhere.
        std::thread::sleep(std::time::Duration::from_millis(20));
        plugin.unwrap().digest()[..8].to_owned()
    };
    let all = |digests: &[&String]| {
        let found: Vec<_> = files().into_iter().map(|name| name[..8].to_owned()).collect();
        let mut wanted: Vec<_> = digests.iter().map(|digest| (*digest).clone()).collect();
        wanted.sort();
        assert_eq!(found, wanted);
    };
    let (first, second) = (load(u64::MAX, 1), load(u64::MAX, 2));
    all(&[&first, &second]);
    load(u64::MAX, 1);
    let one = fs::metadata(dir.path().join(files().first().unwrap())).unwrap().len();
    let third = load(2 * one + one / 2, 3);
    all(&[&first, &third]);
    let fourth = load(0, 4);
    all(&[&fourth]);
}

#[test]
fn what_takes_too_long_to_compile_is_refused_and_there_when_it_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let compile_limit = std::time::Duration::from_millis(1);
    let config =
        EngineConfig { cache_dir: Some(dir.path().to_owned()), compile_limit, ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    let wasm = common::misbehaving_wasm();
    let error = engine.load("x", wasm).unwrap_err().to_string();
    assert!(error.contains("takes longer than 1ms to compile"), "{error}");
    let started = std::time::Instant::now();
    while engine.load("x", wasm).is_err() {
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "it never came to its end");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_cache_that_others_may_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    let error = format!("{:#}", with_cache(dir.path()).unwrap_err());
    assert!(error.contains("others may write to it"), "{error}");
    mode(0o755);
    with_cache(dir.path()).unwrap();
    assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    with_cache(&file).unwrap_err();
}

#[test]
fn an_engine_needs_sensible_settings() {
    let check = |config: EngineConfig, message: &str| {
        let error = Engine::new(config).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    check(EngineConfig { threads: 1, ..EngineConfig::default() }, "2 threads at least");
    let limits = Limits { memory_bytes: 1000, ..Limits::default() };
    check(EngineConfig { limits, ..EngineConfig::default() }, "multiple of 64 KiB");
}
