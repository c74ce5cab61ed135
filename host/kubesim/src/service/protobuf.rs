//! Bodies in Kubernetes' protobuf, which Go's typed clients send (`kubectl create configmap`): of the few kinds whose
//! whole type fits into a table, and of options. Answers are always JSON; such clients take that too.
//!
//! The tables are those of the `generated.proto` files of Kubernetes. A kind or a field that isn't in them is refused,
//! never left out.

use serde_json::{Map, Value, json};

use crate::apply::managed;
use crate::status::{self, Result};

/// The media type.
pub(super) const FORMAT: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Deeper than any type in the tables; a body that is deeper is nonsense.
const DEEPEST: usize = 16;

/// What a field holds.
enum Type {
    Text,
    Bytes,
    Int,
    Bool,
    /// Seconds and nanoseconds; the flag: shown with microseconds.
    Time(bool),
    /// A number or a text.
    Either,
    /// Text that is JSON, in a message of its own.
    Json,
    Map(&'static Type),
    Of(&'static Message),
}

/// How often a field may be there, and whether its zero value means something.
#[derive(PartialEq)]
enum How {
    /// Always written; its zero value stands for nothing.
    Plain,
    /// Written where it is set.
    Optional,
    List,
}

use How::{List, Optional, Plain};
use Type::{Bool, Bytes, Either, Int, Json, Of, Text, Time};

type Message = [(u64, &'static str, Type, How)];

const TEXTS: Type = Type::Map(&Text);

static OWNER: &Message = &[
    (1, "kind", Text, Plain),
    (3, "name", Text, Plain),
    (4, "uid", Text, Plain),
    (5, "apiVersion", Text, Plain),
    (6, "controller", Bool, Optional),
    (7, "blockOwnerDeletion", Bool, Optional),
];
static MANAGED: &Message = &[
    (1, "manager", Text, Plain),
    (2, "operation", Text, Plain),
    (3, "apiVersion", Text, Plain),
    (4, "time", Time(false), Plain),
    (6, "fieldsType", Text, Plain),
    (7, "fieldsV1", Json, Plain),
    (8, "subresource", Text, Plain),
];
static META: &Message = &[
    (1, "name", Text, Plain),
    (2, "generateName", Text, Plain),
    (3, "namespace", Text, Plain),
    (4, "selfLink", Text, Plain),
    (5, "uid", Text, Plain),
    (6, "resourceVersion", Text, Plain),
    (7, "generation", Int, Plain),
    (8, "creationTimestamp", Time(false), Plain),
    (9, "deletionTimestamp", Time(false), Plain),
    (10, "deletionGracePeriodSeconds", Int, Optional),
    (11, "labels", TEXTS, Plain),
    (12, "annotations", TEXTS, Plain),
    (13, "ownerReferences", Of(OWNER), List),
    (14, "finalizers", Text, List),
    (17, "managedFields", Of(MANAGED), List),
];
static SELECTOR: &Message = &[
    (1, "matchLabels", TEXTS, Plain),
    (
        2,
        "matchExpressions",
        Of(&[(1, "key", Text, Plain), (2, "operator", Text, Plain), (3, "values", Text, List)]),
        List,
    ),
];
static CONFIG_MAP: &Message = &[
    (1, "metadata", Of(META), Plain),
    (2, "data", TEXTS, Plain),
    (3, "binaryData", Type::Map(&Bytes), Plain),
    (4, "immutable", Bool, Optional),
];
static SECRET: &Message = &[
    (1, "metadata", Of(META), Plain),
    (2, "data", Type::Map(&Bytes), Plain),
    (3, "type", Text, Plain),
    (4, "stringData", TEXTS, Plain),
    (5, "immutable", Bool, Optional),
];
static NAMESPACE: &Message = &[
    (1, "metadata", Of(META), Plain),
    (2, "spec", Of(&[(1, "finalizers", Text, List)]), Plain),
    (3, "status", Of(&[(1, "phase", Text, Plain)]), Plain),
];
static SERVICE_ACCOUNT: &Message = &[
    (1, "metadata", Of(META), Plain),
    (
        2,
        "secrets",
        Of(&[
            (1, "kind", Text, Plain),
            (2, "namespace", Text, Plain),
            (3, "name", Text, Plain),
            (4, "uid", Text, Plain),
            (5, "apiVersion", Text, Plain),
            (6, "resourceVersion", Text, Plain),
            (7, "fieldPath", Text, Plain),
        ]),
        List,
    ),
    (3, "imagePullSecrets", Of(&[(1, "name", Text, Plain)]), List),
    (4, "automountServiceAccountToken", Bool, Optional),
];
static SERVICE_PORT: &Message = &[
    (1, "name", Text, Plain),
    (2, "protocol", Text, Plain),
    (3, "port", Int, Plain),
    (4, "targetPort", Either, Plain),
    (5, "nodePort", Int, Plain),
    (6, "appProtocol", Text, Optional),
];
static SERVICE_SPEC: &Message = &[
    (1, "ports", Of(SERVICE_PORT), List),
    (2, "selector", TEXTS, Plain),
    (3, "clusterIP", Text, Plain),
    (4, "type", Text, Plain),
    (5, "externalIPs", Text, List),
    (7, "sessionAffinity", Text, Plain),
    (8, "loadBalancerIP", Text, Plain),
    (9, "loadBalancerSourceRanges", Text, List),
    (10, "externalName", Text, Plain),
    (11, "externalTrafficPolicy", Text, Plain),
    (12, "healthCheckNodePort", Int, Plain),
    (13, "publishNotReadyAddresses", Bool, Plain),
    (17, "ipFamilyPolicy", Text, Optional),
    (18, "clusterIPs", Text, List),
    (19, "ipFamilies", Text, List),
    (20, "allocateLoadBalancerNodePorts", Bool, Optional),
    (21, "loadBalancerClass", Text, Optional),
    (22, "internalTrafficPolicy", Text, Optional),
    (23, "trafficDistribution", Text, Optional),
];
static SERVICE: &Message = &[
    (1, "metadata", Of(META), Plain),
    (2, "spec", Of(SERVICE_SPEC), Plain),
    (3, "status", Of(&[(1, "loadBalancer", Of(&[]), Plain)]), Plain),
];
static LEASE: &Message = &[
    (1, "metadata", Of(META), Plain),
    (
        2,
        "spec",
        Of(&[
            (1, "holderIdentity", Text, Optional),
            (2, "leaseDurationSeconds", Int, Optional),
            (3, "acquireTime", Time(true), Plain),
            (4, "renewTime", Time(true), Plain),
            (5, "leaseTransitions", Int, Optional),
            (6, "strategy", Text, Optional),
            (7, "preferredHolder", Text, Optional),
        ]),
        Plain,
    ),
];
static DISRUPTION_BUDGET: &Message = &[
    (1, "metadata", Of(META), Plain),
    (
        2,
        "spec",
        Of(&[
            (1, "minAvailable", Either, Optional),
            (2, "selector", Of(SELECTOR), Optional),
            (3, "maxUnavailable", Either, Optional),
            (4, "unhealthyPodEvictionPolicy", Text, Optional),
        ]),
        Plain,
    ),
    (
        3,
        "status",
        Of(&[
            (1, "observedGeneration", Int, Plain),
            (3, "disruptionsAllowed", Int, Plain),
            (4, "currentHealthy", Int, Plain),
            (5, "desiredHealthy", Int, Plain),
            (6, "expectedPods", Int, Plain),
        ]),
        Plain,
    ),
];
static DELETE_OPTIONS: &Message = &[
    (1, "gracePeriodSeconds", Int, Optional),
    (2, "preconditions", Of(&[(1, "uid", Text, Optional), (2, "resourceVersion", Text, Optional)]), Plain),
    (3, "orphanDependents", Bool, Optional),
    (4, "propagationPolicy", Text, Optional),
    (5, "dryRun", Text, List),
];
/// What is around every body: type, content, encoding and format of the content.
static ENVELOPE: &Message = &[
    (1, "type", Of(&[(1, "apiVersion", Text, Plain), (2, "kind", Text, Plain)]), Plain),
    (2, "raw", Bytes, Plain),
    (3, "contentEncoding", Text, Plain),
    (4, "contentType", Text, Plain),
];

fn message_of(version: &str, kind: &str) -> Option<&'static Message> {
    Some(match (version, kind) {
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "Secret") => SECRET,
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "ServiceAccount") => SERVICE_ACCOUNT,
        ("v1", "Service") => SERVICE,
        ("coordination.k8s.io/v1", "Lease") => LEASE,
        ("policy/v1", "PodDisruptionBudget") => DISRUPTION_BUDGET,
        (_, "DeleteOptions") => DELETE_OPTIONS,
        _ => return None,
    })
}

/// A body as the JSON that it stands for.
pub(super) fn read(body: &[u8]) -> Result<Value> {
    let broken = || status::bad_request("the body of the request is not Kubernetes' protobuf");
    let content = body.strip_prefix(MAGIC).ok_or_else(broken)?;
    // The content stays as it is until it is known what it is.
    let mut raw: &[u8] = &[];
    let mut rest = content;
    while !rest.is_empty() {
        let (number, wire, after) = field(rest).ok_or_else(broken)?;
        if number == 2 {
            raw = wire.bytes().ok_or_else(broken)?;
        }
        rest = after;
    }
    let told = |problem| status::unsupported_media_type(format!("{problem}; what is JSON is read"));
    let envelope = decode(content, ENVELOPE, 0).map_err(told)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&envelope["type"]["apiVersion"]), text(&envelope["type"]["kind"]));
    let message = message_of(&version, &kind).ok_or_else(|| {
        told(format!("the embedded Kubernetes API doesn't read {version} {kind} in protobuf"))
    })?;
    let mut object =
        decode(raw, message, 0).map_err(|problem| told(format!("{version} {kind}: {problem}")))?;
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    Ok(object)
}

/// What stands on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Wire::Bytes(bytes) => Some(bytes),
            Wire::Number(_) => None,
        }
    }
}

/// The first field: its number, what it holds, and what follows.
fn field(bytes: &[u8]) -> Option<(u64, Wire<'_>, &[u8])> {
    let (key, rest) = varint(bytes)?;
    match key & 7 {
        0 => {
            let (number, rest) = varint(rest)?;
            Some((key >> 3, Wire::Number(number), rest))
        }
        2 => {
            let (length, rest) = varint(rest)?;
            let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((key >> 3, Wire::Bytes(content), rest))
        }
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

fn decode(mut bytes: &[u8], message: &Message, depth: usize) -> std::result::Result<Value, String> {
    if depth > DEEPEST {
        return Err("it is too deep".into());
    }
    let mut out = Map::new();
    while !bytes.is_empty() {
        let (number, wire, rest) = field(bytes).ok_or("it is broken off")?;
        bytes = rest;
        let known = message.iter().find(|(own, ..)| *own == number);
        let (_, name, of, how) =
            known.ok_or_else(|| format!("its field {number} is not read in protobuf"))?;
        if let Type::Map(item) = of {
            let (key, value) = entry(wire.bytes().ok_or("a map is none")?, item, depth)?;
            let entries = out.entry(*name).or_insert_with(|| json!({}));
            entries[key] = value;
            continue;
        }
        let found = value(&wire, of, depth)?;
        match how {
            List => {
                let items = out.entry(*name).or_insert_with(|| json!([]));
                items.as_array_mut().into_iter().for_each(|items| items.push(found.clone()));
            }
            Plain if is_zero(&found) => (),
            Plain | Optional => {
                out.insert((*name).to_owned(), found);
            }
        }
    }
    Ok(Value::Object(out))
}

/// What a Go program writes of a field that nobody has set.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// An entry of a map is a message of a key and a value; either is left out when it is empty.
fn entry(bytes: &[u8], of: &Type, depth: usize) -> std::result::Result<(String, Value), String> {
    let (mut key, mut found, mut rest) = (String::new(), json!(""), bytes);
    while !rest.is_empty() {
        let (number, wire, after) = field(rest).ok_or("it is broken off")?;
        match number {
            1 => key = text(&wire)?,
            _ => found = value(&wire, of, depth)?,
        }
        rest = after;
    }
    Ok((key, found))
}

fn text(wire: &Wire<'_>) -> std::result::Result<String, String> {
    let bytes = wire.bytes().ok_or("a text is none")?;
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

fn value(wire: &Wire<'_>, of: &Type, depth: usize) -> std::result::Result<Value, String> {
    match (of, wire) {
        (Text, _) => text(wire).map(Value::from),
        // Negative numbers are written as what they are in 64 bits.
        (Int, Wire::Number(number)) => Ok((*number as i64).into()),
        (Bool, Wire::Number(number)) => Ok((*number != 0).into()),
        (Bytes, Wire::Bytes(bytes)) => {
            let bytes = k8s_openapi::ByteString(bytes.to_vec());
            serde_json::to_value(bytes).map_err(|error| error.to_string())
        }
        (Of(message), Wire::Bytes(bytes)) => decode(bytes, message, depth + 1),
        (Time(micro), Wire::Bytes(bytes)) => {
            let parts = decode(bytes, &[(1, "s", Int, Optional), (2, "n", Int, Plain)], depth + 1)?;
            let Some(seconds) = parts["s"].as_i64() else { return Ok(Value::Null) };
            let nanos = i32::try_from(parts["n"].as_i64().unwrap_or_default()).unwrap_or_default();
            managed::shown(seconds, nanos, *micro).map(Value::from).ok_or_else(|| "a time is none".to_owned())
        }
        (Either, Wire::Bytes(bytes)) => {
            let table = [(1, "type", Int, Plain), (2, "number", Int, Optional), (3, "text", Text, Optional)];
            let mut parts = decode(bytes, &table, depth + 1)?;
            Ok(if parts["type"] == 1 { parts["text"].take() } else { parts["number"].take() })
        }
        (Json, Wire::Bytes(bytes)) => {
            let mut found = Value::Null;
            if let Some((1, Wire::Bytes(raw), _)) = field(bytes) {
                found = serde_json::from_slice(raw).map_err(|error| error.to_string())?;
            }
            Ok(found)
        }
        _ => Err("a field is not of its type".into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        out.extend_from_slice(content);
        out
    }

    fn body(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let told = [bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), bytes(1, &told), bytes(2, raw), bytes(3, b""), bytes(4, b"")].concat()
    }

    #[test]
    fn what_go_writes_is_read_without_what_nobody_has_set() {
        let meta = [bytes(1, b"a"), bytes(2, b""), vec![7 << 3, 0], bytes(8, b"")].concat();
        let entry = [bytes(1, b"k"), bytes(2, b"v")].concat();
        let map =
            [bytes(1, &meta), bytes(2, &entry), bytes(2, &bytes(1, b"empty")), vec![4 << 3, 0]].concat();
        assert_eq!(
            read(&body("v1", "ConfigMap", &map)).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
                "data": {"k": "v", "empty": ""}, "immutable": false}),
        );
        let port = [vec![3 << 3, 80], bytes(4, &[vec![1 << 3, 1], bytes(3, b"http")].concat())].concat();
        let service = [bytes(1, &meta), bytes(2, &bytes(1, &port)), bytes(3, &bytes(1, b""))].concat();
        assert_eq!(
            read(&body("v1", "Service", &service)).unwrap()["spec"],
            json!({"ports": [{"port": 80, "targetPort": "http"}]}),
        );
        let renewed = bytes(4, &[vec![1 << 3, 61], vec![2 << 3, 0xe8, 7]].concat());
        assert_eq!(
            read(&body("coordination.k8s.io/v1", "Lease", &bytes(2, &renewed))).unwrap()["spec"],
            json!({"renewTime": "1970-01-01T00:01:01.000001Z"}),
        );
    }

    #[test]
    fn what_is_not_in_the_tables_is_refused() {
        let code = |body: &[u8]| read(body).unwrap_err().code;
        assert_eq!(code(&body("v1", "Pod", b"")), 415);
        assert_eq!(code(&body("v1", "ConfigMap", &bytes(9, b"x"))), 415);
        assert_eq!(code(&body("v1", "ConfigMap", &[1 << 3 | 2, 200])), 415);
        assert_eq!(code(b"{}"), 400);
        for length in 0..20 {
            let whole = body("v1", "ConfigMap", &bytes(1, &bytes(1, b"name")));
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
    }
}
