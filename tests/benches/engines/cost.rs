//! What a process costs, as the kernel counts it.

use std::{fs, time::Instant};

/// At one moment.
pub struct Cost {
    /// Resident memory.
    pub mebibytes: f64,
    /// User and system, since its start.
    cpu_seconds: f64,
    at: Instant,
}

impl Cost {
    /// Of the process of that number. Linux's `/proc` says it (proc_pid_stat(5), proc_pid_status(5)).
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kibibytes: f64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        // The name, in parentheses, may hold spaces. After it: field 3 and on; utime is 14, stime 15, in ticks of 10 ms.
        let (_, rest) = stat.rsplit_once(')').expect("a name");
        let ticks =
            rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().expect("ticks"));
        Self { mebibytes: kibibytes / 1024.0, cpu_seconds: ticks.sum::<f64>() / 100.0, at: Instant::now() }
    }

    /// Thousandths of a core, on average.
    pub fn millicores_since(&self, before: &Self) -> f64 {
        (self.cpu_seconds - before.cpu_seconds) / (self.at - before.at).as_secs_f64() * 1000.0
    }
}
