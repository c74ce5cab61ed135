//! The columns of built-in kinds, as a real server has them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::human::{ago, duration, joined, labels, or, some_of};
use super::{Column, pods};
use crate::kinds::{self, GroupResource};

/// Name, type, and whether it is shown by `-o wide` only.
type Head = (&'static str, &'static str, bool);
type Cells = fn(&Value, Timestamp) -> Vec<Value>;

const NAME: Head = ("Name", "string", false);
const AGE: Head = ("Age", "string", false);

const fn text(name: &'static str) -> Head {
    (name, "string", false)
}

const fn number(name: &'static str) -> Head {
    (name, "integer", false)
}

const fn wide(name: &'static str) -> Head {
    (name, "string", true)
}

/// The columns of a kind.
pub fn columns(what: &GroupResource) -> Option<Vec<Column>> {
    let column = |(name, kind, wide): &Head| Column {
        name: (*name).into(),
        kind: (*kind).into(),
        format: if *name == "Name" && !*wide { "name" } else { "" }.into(),
        description: String::new(),
        priority: i64::from(*wide),
    };
    Some(printer(what)?.0.iter().map(column).collect())
}

/// The cells of an object.
pub fn cells(what: &GroupResource, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    Some(printer(what)?.1(object, now))
}

fn printer(what: &GroupResource) -> Option<(&'static [Head], Cells)> {
    let found = PRINTERS.iter().find(|(own, ..)| own == what);
    found.map(|(_, columns, cells)| (*columns, *cells))
}

const PRINTERS: &[(GroupResource, &[Head], Cells)] = &[
    (kinds::NAMESPACES, &[NAME, text("Status"), AGE], |o, now| {
        vec![name(o), o["status"]["phase"].clone(), age(o, now)]
    }),
    (kinds::CONFIG_MAPS, &[NAME, number("Data"), AGE], |o, now| {
        vec![name(o), json!(size(&o["data"]) + size(&o["binaryData"])), age(o, now)]
    }),
    (kinds::SECRETS, &[NAME, text("Type"), text("Data"), AGE], |o, now| {
        vec![name(o), o["type"].clone(), json!(size(&o["data"])), age(o, now)]
    }),
    (kinds::NETWORK_POLICIES, &[NAME, text("Pod-Selector"), AGE], |o, now| {
        vec![name(o), labels(&o["spec"]["podSelector"]["matchLabels"]).into(), age(o, now)]
    }),
    (kinds::SERVICE_ACCOUNTS, &[NAME, number("Secrets"), AGE], |o, now| {
        vec![name(o), json!(size(&o["secrets"])), age(o, now)]
    }),
    (
        kinds::PODS,
        &[
            NAME,
            text("Ready"),
            text("Status"),
            text("Restarts"),
            AGE,
            wide("IP"),
            wide("Node"),
            wide("Nominated Node"),
            wide("Readiness Gates"),
        ],
        pod,
    ),
    (
        kinds::SERVICES,
        &[
            NAME,
            text("Type"),
            text("Cluster-IP"),
            text("External-IP"),
            text("Port(s)"),
            AGE,
            wide("Selector"),
        ],
        service,
    ),
    (kinds::ENDPOINTS, &[NAME, text("Endpoints"), AGE], |o, now| {
        vec![name(o), json!(some_of(&endpoints(o), 3)), age(o, now)]
    }),
    (
        kinds::ENDPOINT_SLICES,
        &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE],
        endpoint_slice,
    ),
    (
        kinds::CLAIMS,
        &[
            NAME,
            text("Status"),
            text("Volume"),
            text("Capacity"),
            text("Access Modes"),
            text("StorageClass"),
            text("VolumeAttributesClass"),
            AGE,
            wide("VolumeMode"),
        ],
        claim,
    ),
    (kinds::STATEFUL_SETS, &[NAME, text("Ready"), AGE, wide("Containers"), wide("Images")], |o, now| {
        let ready = o["status"]["readyReplicas"].as_i64().unwrap_or_default();
        let wanted = o["spec"]["replicas"].as_i64().unwrap_or_default();
        let containers = &o["spec"]["template"]["spec"]["containers"];
        vec![
            name(o),
            json!(format!("{ready}/{wanted}")),
            age(o, now),
            joined(containers, "name").into(),
            joined(containers, "image").into(),
        ]
    }),
    (kinds::CONTROLLER_REVISIONS, &[NAME, text("Controller"), number("Revision"), AGE], |o, now| {
        vec![name(o), controller(o).into(), o["revision"].clone(), age(o, now)]
    }),
    (
        kinds::JOBS,
        &[
            NAME,
            text("Status"),
            text("Completions"),
            text("Duration"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector"),
        ],
        job,
    ),
    (kinds::LEASES, &[NAME, text("Holder"), AGE], |o, now| {
        vec![name(o), or(&o["spec"]["holderIdentity"], "").into(), age(o, now)]
    }),
    (
        kinds::DISRUPTION_BUDGETS,
        &[NAME, text("Min Available"), text("Max Unavailable"), number("Allowed Disruptions"), AGE],
        |o, now| {
            let limit = |field: &str| match &o["spec"][field] {
                Value::Null => json!("N/A"),
                Value::String(text) => json!(text),
                other => json!(other.to_string()),
            };
            let allowed = o["status"]["disruptionsAllowed"].as_i64().unwrap_or_default();
            vec![name(o), limit("minAvailable"), limit("maxUnavailable"), json!(allowed), age(o, now)]
        },
    ),
    (kinds::DEFINITIONS, &[NAME, ("Created At", "date", false)], |o, _| {
        vec![name(o), o["metadata"]["creationTimestamp"].clone()]
    }),
    (
        kinds::EVENTS,
        &[
            text("Last Seen"),
            text("Type"),
            text("Reason"),
            text("Object"),
            wide("Subobject"),
            wide("Source"),
            text("Message"),
            wide("First Seen"),
            ("Count", "integer", true),
            wide("Name"),
        ],
        event,
    ),
];

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

fn age(object: &Value, now: Timestamp) -> Value {
    ago(&object["metadata"]["creationTimestamp"], now).into()
}

fn size(value: &Value) -> usize {
    value.as_object().map(serde_json::Map::len).or_else(|| value.as_array().map(Vec::len)).unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn pod(pod: &Value, now: Timestamp) -> Vec<Value> {
    let [ready, status, restarts] = pods::state(pod, now);
    vec![
        name(pod),
        ready,
        status,
        restarts,
        age(pod, now),
        or(&pod["status"]["podIP"], "<none>").into(),
        or(&pod["spec"]["nodeName"], "<none>").into(),
        or(&pod["status"]["nominatedNodeName"], "<none>").into(),
        "<none>".into(),
    ]
}

fn service(service: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &service["spec"];
    let kind = spec["type"].as_str().unwrap_or("ClusterIP");
    let port = |port: &Value| {
        let (number, protocol) = (&port["port"], port["protocol"].as_str().unwrap_or("TCP"));
        match port["nodePort"].as_i64().filter(|node| *node > 0) {
            Some(node) => format!("{number}:{node}/{protocol}"),
            None => format!("{number}/{protocol}"),
        }
    };
    let ports: Vec<_> = list(&spec["ports"]).map(port).collect();
    let mut external: Vec<_> = list(&spec["externalIPs"]).filter_map(Value::as_str).collect();
    external.extend(list(&service["status"]["loadBalancer"]["ingress"]).filter_map(|to| to["ip"].as_str()));
    let external = match kind {
        "ExternalName" => or(&spec["externalName"], "<none>"),
        "LoadBalancer" if external.is_empty() => "<pending>".into(),
        _ if external.is_empty() => "<none>".into(),
        _ => external.join(","),
    };
    vec![
        name(service),
        kind.into(),
        or(&spec["clusterIP"], "<none>").into(),
        external.into(),
        if ports.is_empty() { "<none>".into() } else { ports.join(",").into() },
        age(service, now),
        labels(&spec["selector"]).into(),
    ]
}

fn endpoints(object: &Value) -> Vec<String> {
    let of = |subset: &Value| {
        let ports: Vec<Value> = list(&subset["ports"]).map(|port| port["port"].clone()).collect();
        let addresses: Vec<_> = list(&subset["addresses"]).filter_map(|a| a["ip"].as_str()).collect();
        let pairs = addresses.iter().flat_map(|ip| ports.iter().map(move |port| format!("{ip}:{port}")));
        if ports.is_empty() {
            addresses.iter().map(|ip| (*ip).to_owned()).collect()
        } else {
            pairs.collect::<Vec<_>>()
        }
    };
    list(&object["subsets"]).flat_map(of).collect()
}

fn endpoint_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<_> = list(&slice["ports"]).map(|port| port["port"].to_string()).collect();
    let ports = if ports.is_empty() { "<unset>".into() } else { some_of(&ports, 3) };
    let addresses = list(&slice["endpoints"]).flat_map(|endpoint| list(&endpoint["addresses"]));
    let addresses: Vec<_> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    let addresses = if addresses.is_empty() { "<unset>".into() } else { some_of(&addresses, 3) };
    vec![name(slice), slice["addressType"].clone(), ports.into(), addresses.into(), age(slice, now)]
}

fn claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    let bound = spec["volumeName"].as_str().is_some_and(|volume| !volume.is_empty());
    let modes = if bound {
        list(&status["accessModes"]).map(short).collect::<Vec<_>>().join(",")
    } else {
        String::new()
    };
    let capacity = if bound { or(&status["capacity"]["storage"], "") } else { String::new() };
    let terminating = claim["metadata"].get("deletionTimestamp").is_some();
    vec![
        name(claim),
        if terminating { "Terminating".into() } else { status["phase"].clone() },
        or(&spec["volumeName"], "").into(),
        capacity.into(),
        modes.into(),
        or(&spec["storageClassName"], "").into(),
        or(&spec["volumeAttributesClassName"], "<unset>").into(),
        age(claim, now),
        or(&spec["volumeMode"], "<unset>").into(),
    ]
}

fn controller(object: &Value) -> String {
    let Some(owner) = list(&object["metadata"]["ownerReferences"]).find(|owner| owner["controller"] == true)
    else {
        return "<none>".into();
    };
    let kind = or(&owner["kind"], "").to_lowercase();
    let group =
        owner["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    let name = or(&owner["name"], "");
    group.map_or_else(|| format!("{kind}/{name}"), |group| format!("{kind}.{group}/{name}"))
}

fn job(job: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let is = |kind: &str| list(&status["conditions"]).any(|c| c["type"] == kind && c["status"] == "True");
    let state = if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job["metadata"].get("deletionTimestamp").is_some() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let succeeded = status["succeeded"].as_i64().unwrap_or_default();
    let parallelism = spec["parallelism"].as_i64().unwrap_or_default();
    let completions = match spec["completions"].as_i64() {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    };
    let at = |field: &str| status[field].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let took = at("startTime")
        .map(|start| duration(at("completionTime").unwrap_or(now).as_second() - start.as_second()));
    let containers = &spec["template"]["spec"]["containers"];
    vec![
        name(job),
        state.into(),
        completions.into(),
        took.unwrap_or_default().into(),
        age(job, now),
        joined(containers, "name").into(),
        joined(containers, "image").into(),
        labels(&spec["selector"]["matchLabels"]).into(),
    ]
}

fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let about = &event["involvedObject"];
    let time = |fields: [&Value; 2]| {
        fields
            .into_iter()
            .find(|time| time.is_string())
            .map_or_else(|| "<unknown>".into(), |time| ago(time, now))
    };
    let source = match (event["source"]["component"].as_str(), event["source"]["host"].as_str()) {
        (Some(component), Some(host)) if !host.is_empty() => format!("{component}, {host}"),
        (component, _) => component.or(event["reportingComponent"].as_str()).unwrap_or_default().to_owned(),
    };
    vec![
        time([&event["lastTimestamp"], &event["eventTime"]]).into(),
        event["type"].clone(),
        event["reason"].clone(),
        format!("{}/{}", or(&about["kind"], "").to_lowercase(), or(&about["name"], "")).into(),
        or(&about["fieldPath"], "").into(),
        source.into(),
        or(&event["message"], "").trim().into(),
        time([&event["firstTimestamp"], &event["eventTime"]]).into(),
        event["count"].as_i64().unwrap_or(1).into(),
        name(event),
    ]
}
