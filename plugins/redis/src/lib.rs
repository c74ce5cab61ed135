//! Resource type redis: a primary and N replicas
