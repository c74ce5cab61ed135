//! aerospike.conf, as Community Edition reads it. What differs between the nodes, and would replace them all if it
//! were in here, is put in by `start.sh` when a node starts: `@NODE_ID@`, `@POD_IP@` and `@BIND@`.
//!
//! Nothing of Enterprise Edition may get into it (security, tls, xdr, strong-consistency, compression, racks): a
//! community server that finds it does not start.

use std::fmt::Write;

use crate::Spec;

/// For clients.
pub(crate) const SERVICE_PORT: u16 = 3000;
/// Between nodes: records and migrations.
pub(crate) const FABRIC_PORT: u16 = 3001;
/// Between nodes: heartbeats.
pub(crate) const HEARTBEAT_PORT: u16 = 3002;
/// For administrators: `info` in plain text up to 8.0, `admin` from 8.1 on.
pub(crate) const ADMIN_PORT: u16 = 3003;
/// Where the server keeps what it knows of secondary indexes and functions; a volume of the pod's.
pub(crate) const WORK_DIR: &str = "/var/lib/aerospike";

/// The template that `start.sh` completes. `seeds` are DNS names of nodes that one which starts asks for the others;
/// naming all of them would replace every node when their number changes.
pub(crate) fn aerospike_conf(name: &str, spec: &Spec, seeds: &[String]) -> String {
    let mut conf = format!(
        "service {{\n\
         \tcluster-name {name}\n\
         \tnode-id @NODE_ID@\n\
         \twork-directory {WORK_DIR}\n"
    );
    if spec.release() >= [8, 1, 2, 0] {
        // How full memory is: that of the container, not of the machine.
        conf.push_str("\tcgroup-mem-tracking true\n");
    }
    conf.push_str("}\n\nlogging {\n\tconsole {\n\t\tcontext any info\n\t}\n}\n\n");
    conf.push_str(&network(spec, seeds));
    let _ = write!(conf, "\nmod-lua {{\n\tuser-path {WORK_DIR}/usr/udf/lua\n}}\n");
    for (name, namespace) in &spec.namespaces {
        // Writing to a String does not fail.
        let _ = write!(
            conf,
            "\nnamespace {name} {{\n\
             \treplication-factor {}\n\
             \tdefault-ttl {}\n\
             \tnsup-period 120\n\
             \tindexes-memory-budget {}M\n\
             \tindex-stage-size 128M\n\
             \n\
             \tstorage-engine memory {{\n\
             \t\tdata-size {}M\n\
             \t\tevict-used-pct {}\n\
             \t}}\n}}\n",
            spec.replication_factor,
            namespace.default_ttl_seconds,
            index_mb(namespace.memory_mb),
            namespace.memory_mb,
            namespace.evict_used_pct,
        );
    }
    conf
}

/// Memory for a namespace's indexes: 64 bytes for each record, so enough where records are 128 bytes and more.
pub(crate) fn index_mb(memory_mb: u64) -> u64 {
    memory_mb / 2
}

fn network(spec: &Spec, seeds: &[String]) -> String {
    let seeds: String =
        seeds.iter().map(|seed| format!("\t\tmesh-seed-address-port {seed} {HEARTBEAT_PORT}\n")).collect();
    let admin = if spec.release() >= [8, 1, 0, 0] { "admin" } else { "info" };
    format!(
        "network {{\n\
         \tservice {{\n\
         \t\taddress @BIND@\n\
         \t\tport {SERVICE_PORT}\n\
         \t\taccess-address @POD_IP@\n\
         \t}}\n\n\
         \theartbeat {{\n\
         \t\tmode mesh\n\
         \t\taddress @POD_IP@\n\
         \t\tport {HEARTBEAT_PORT}\n\
         {seeds}\
         \t\tinterval 150\n\
         \t\ttimeout 10\n\
         \t}}\n\n\
         \tfabric {{\n\
         \t\taddress @POD_IP@\n\
         \t\tport {FABRIC_PORT}\n\
         \t}}\n\n\
         \t{admin} {{\n\
         \t\taddress @BIND@\n\
         \t\tport {ADMIN_PORT}\n\
         \t}}\n\
         }}\n"
    )
}
