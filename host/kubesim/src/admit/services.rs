//! Rules of Services, and their addresses.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{names, pods};
use crate::status::{self, Cause, Result};
use crate::store::State;

/// Gives a new service its address.
pub fn allocate(state: &mut State, service: &mut Value) -> Result<()> {
    let spec = &mut service["spec"];
    match spec["type"].as_str() {
        Some("ExternalName") => return Ok(()),
        Some(other @ ("NodePort" | "LoadBalancer")) => {
            return Err(status::not_implemented(format!("Services of type {other}")));
        }
        _ => (),
    }
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
        let free = state
            .addresses
            .free()
            .ok_or_else(|| status::internal("failed to allocate IP for the service: range is full"))?;
        spec["clusterIP"] = free.to_string().into();
    }
    spec["clusterIPs"] = json!([spec["clusterIP"]]);
    super::defaults::set(spec, "ipFamilies", json!(["IPv4"]));
    super::defaults::set(spec, "ipFamilyPolicy", "SingleStack");
    Ok(())
}

/// What is wrong with a service.
pub fn check(state: &State, old: Option<&Value>, service: &mut Value) -> Result<Vec<Cause>> {
    let mut causes = Vec::new();
    if let Some(old) = old {
        check_address_stays(&mut causes, old, service);
    } else if let Some(address) = service["spec"]["clusterIP"].as_str().filter(|a| *a != "None") {
        check_address(&mut causes, state, address);
    }
    let spec = &service["spec"];
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if spec["type"].as_str().is_none_or(|t| !types.contains(&t)) {
        causes.push(Cause::not_supported("spec.type", &spec["type"], &types));
    }
    super::check_labels(&mut causes, &spec["selector"], "spec.selector");
    let headless = spec["clusterIP"] == "None";
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ports.is_empty() && !headless && spec["type"] != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    check_ports(&mut causes, ports);
    Ok(causes)
}

fn check_ports(causes: &mut Vec<Cause>, ports: &[Value]) {
    let (mut names_seen, mut numbers) = (Vec::new(), Vec::new());
    for (at, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            if let Some(problem) = names::label(name) {
                causes.push(Cause::invalid(format!("{path}.name"), &port["name"], &problem));
            }
            if names_seen.contains(&name) {
                causes.push(Cause::duplicate(format!("{path}.name"), &port["name"]));
            }
            names_seen.push(name);
        }
        pods::check_port(causes, &port["port"], &format!("{path}.port"));
        if port["targetPort"].is_number() {
            pods::check_port(causes, &port["targetPort"], &format!("{path}.targetPort"));
        }
        let known = (&port["protocol"], &port["port"]);
        if numbers.contains(&known) {
            causes.push(Cause::duplicate(path, &json!({"port": port["port"], "protocol": port["protocol"]})));
        }
        numbers.push(known);
    }
}

fn check_address(causes: &mut Vec<Cause>, state: &State, address: &str) {
    let value = json!([address]);
    match address.parse::<Ipv4Addr>() {
        Err(_) => causes.push(Cause::invalid(
            "spec.clusterIPs[0]",
            &value,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        )),
        Ok(address) if !state.addresses.contains(address) => {
            let detail = "failed to allocate IP: the provided IP is not in the valid range for services";
            causes.push(Cause::invalid("spec.clusterIPs", &value, detail));
        }
        Ok(address) if state.addresses.is_taken(address) => {
            let detail = format!("failed to allocate IP {address}: provided IP is already allocated");
            causes.push(Cause::invalid("spec.clusterIPs", &value, &detail));
        }
        Ok(_) => (),
    }
}

/// An update that says nothing of the addresses keeps them; one that says something else is refused.
fn check_address_stays(causes: &mut Vec<Cause>, old: &Value, service: &mut Value) {
    if old["spec"]["type"] != service["spec"]["type"] {
        // Between ClusterIP and ExternalName the address comes and goes; not needed so far.
        causes.push(Cause::forbidden(
            "spec.type",
            "the embedded Kubernetes API can't change the type of a service",
        ));
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if let Some(value) = old["spec"].get(field) {
            super::defaults::set(&mut service["spec"], field, value.clone());
        }
    }
    if service["spec"]["clusterIP"] != old["spec"]["clusterIP"] {
        let value = json!([service["spec"]["clusterIP"]]);
        causes.push(Cause::invalid("spec.clusterIPs[0]", &value, "may not change once set"));
    }
}
