//! Everything that survives the process.
use std::path::Path;
use crate::kinds::GroupResource;
use crate::store::{Key, Object, State};
pub(crate) struct Journal;
impl Journal {
    pub fn open(_dir: &Path, _state: &mut State) -> anyhow::Result<Journal> { Ok(Journal) }
    pub fn put(&mut self, _what: &GroupResource, _revision: u64, _object: &Object) -> anyhow::Result<()> { Ok(()) }
    pub fn remove(&mut self, _what: &GroupResource, _revision: u64, _key: &Key) -> anyhow::Result<()> { Ok(()) }
    pub fn is_long(&self) -> bool { false }
    pub fn compact(&mut self, _state: &State) -> anyhow::Result<()> { Ok(()) }
}
