//! What a group of batches comes to: of several changes to one key only the last.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::journal::{Change, Journal, Table};

/// The changes of a group, in an order in which they can be applied: for each table [`Group::cleared`] first, then
/// [`Group::last`].
#[derive(Default)]
pub(super) struct Group<'a> {
    tables: [OfTable<'a>; Table::ALL.len()],
}

#[derive(Default)]
struct OfTable<'a> {
    cleared: Vec<&'a [u8]>,
    last: BTreeMap<&'a [u8], Option<&'a [u8]>>,
}

impl<'a> Group<'a> {
    /// Takes over a journal's changes, which come after all that were added before.
    pub(super) fn add(&mut self, journal: &'a Journal) {
        for change in journal.iter() {
            match change {
                Change::Put { table, key, value } => self.set(table, key, Some(value)),
                // The key may be on the disk, whatever the group says of it.
                Change::Delete { table, key } => self.set(table, key, None),
                Change::DeleteAll { table, prefix } => self.clear(table, prefix),
            }
        }
    }

    fn set(&mut self, table: Table, key: &'a [u8], value: Option<&'a [u8]>) {
        if let Some(of_table) = self.tables.get_mut(table as usize) {
            of_table.last.insert(key, value);
        }
    }

    fn clear(&mut self, table: Table, prefix: &'a [u8]) {
        let Some(of_table) = self.tables.get_mut(table as usize) else {
            return;
        };
        of_table.cleared.push(prefix);
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let hit: Vec<&[u8]> = of_table
            .last
            .range::<[u8], _>(from)
            .map(|(key, _)| *key)
            .take_while(|key| key.starts_with(prefix))
            .collect();
        for key in hit {
            of_table.last.remove(key);
        }
    }

    /// What the keys begin with that are to be deleted before anything else.
    pub(super) fn cleared(&self, table: Table) -> impl Iterator<Item = &'a [u8]> {
        self.tables
            .get(table as usize)
            .into_iter()
            .flat_map(|of_table| of_table.cleared.iter().copied())
    }

    /// The keys, in order, with the values they have in the end; none: deleted.
    pub(super) fn last(&self, table: Table) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.tables
            .get(table as usize)
            .into_iter()
            .flat_map(|of_table| of_table.last.iter().map(|(key, value)| (*key, *value)))
    }
}

/// The first key behind all that begin with `prefix`, if there is one.
pub(super) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let len = prefix.iter().rposition(|byte| *byte < u8::MAX)? + 1;
    let mut behind = prefix.get(..len)?.to_vec();
    *behind.last_mut()? += 1;
    Some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_changes_to_a_key_the_last_remains() {
        let (mut first, mut second) = (Journal::new(), Journal::new());
        first.put(Table::Outbound, b"b", b"1");
        first.put(Table::Outbound, b"a", b"2");
        first.put(Table::Inbound, b"a", b"3");
        second.delete(Table::Outbound, b"b");
        second.put(Table::Outbound, b"a", b"4");
        let mut group = Group::default();
        group.add(&first);
        group.add(&second);
        let last: Vec<_> = group.last(Table::Outbound).collect();
        assert_eq!(last, [(&b"a"[..], Some(&b"4"[..])), (&b"b"[..], None)]);
        assert_eq!(group.last(Table::Inbound).count(), 1);
        assert_eq!(group.cleared(Table::Outbound).count(), 0);
    }

    #[test]
    fn what_is_deleted_by_its_beginning_can_be_put_again() {
        let mut journal = Journal::new();
        for key in [&b"a"[..], b"ab", b"b"] {
            journal.put(Table::Sessions, key, b"1");
        }
        journal.delete_all(Table::Sessions, b"a");
        journal.put(Table::Sessions, b"ac", b"2");
        let mut group = Group::default();
        group.add(&journal);
        assert_eq!(group.cleared(Table::Sessions).collect::<Vec<_>>(), [b"a"]);
        let last: Vec<_> = group.last(Table::Sessions).collect();
        assert_eq!(
            last,
            [(&b"ac"[..], Some(&b"2"[..])), (&b"b"[..], Some(&b"1"[..]))]
        );
    }

    #[test]
    fn what_lies_behind_a_beginning() {
        assert_eq!(behind(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(behind(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(behind(&[255]), None);
    }
}
