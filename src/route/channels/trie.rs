//! Filters with wildcards, as a tree of levels (MQTT 5.0 section 4.7).
//!
//! Invariant: every node but the root leads to a value. A name is matched in at most as many steps as there
//! are nodes, whatever the filters.

use slab::Slab;

use crate::route::hashes::Local;
use crate::route::sessions::{NONE, id};
use crate::route::tables::Segments;

/// What a filter leads to.
pub(crate) trait Value: Copy + Default {
    /// Nothing: the filter need not be kept.
    fn is_empty(&self) -> bool;
}

#[derive(Debug)]
struct Node<V> {
    parent: u32,
    level: Box<str>,
    /// Nodes below, the one for `+` included.
    children: u32,
    plus: u32,
    /// Of the filter that ends here.
    here: V,
    /// Of that filter with `/#` appended.
    below: V,
}

/// The value of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    node: u32,
    below: bool,
}

/// A tree of filters with a value each.
#[derive(Debug)]
pub(crate) struct Trie<V> {
    nodes: Slab<Node<V>>,
    /// Nodes by parent and level; those for `+` are found through their parent.
    by_level: Segments<u32>,
    local: Local,
    root: u32,
    /// Filters with a value.
    filters: usize,
    /// Nodes yet to visit, with the place of the rest of the name; kept for its room.
    todo: Vec<(u32, usize)>,
}

impl<V: Value> Trie<V> {
    pub(crate) fn new(local: Local) -> Self {
        let mut nodes = Slab::new();
        let root = id(nodes.insert(Node::new(NONE, "")));
        Self {
            nodes,
            by_level: Segments::new(),
            local,
            root,
            filters: 0,
            todo: Vec::new(),
        }
    }

    /// The value of `filter`.
    #[cfg(test)]
    pub(crate) fn get(&self, filter: &str) -> V {
        self.find(filter)
            .map(|place| self.value(place))
            .unwrap_or_default()
    }

    /// Lets `change` set the value of `filter`; a filter whose value is empty afterwards is forgotten.
    pub(crate) fn update<R>(&mut self, filter: &str, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let place = self.insert(filter)?;
        let node = self.nodes.get_mut(place.node as usize)?;
        let value = if place.below {
            &mut node.below
        } else {
            &mut node.here
        };
        let was_empty = value.is_empty();
        let result = change(value);
        match (was_empty, value.is_empty()) {
            (true, false) => self.filters += 1,
            (false, true) => self.filters -= 1,
            _ => {}
        }
        self.prune(place.node);
        Some(result)
    }

    /// Shows every value whose filter matches `name`, each once. A wildcard at the first level matches no name that
    /// begins with `$` (4.7.2).
    pub(crate) fn matches(&mut self, name: &str, mut found: impl FnMut(V)) {
        if self.filters == 0 {
            return;
        }
        let mut todo = std::mem::take(&mut self.todo);
        if name.starts_with('$') {
            let first = name.split('/').next().unwrap_or_default();
            let child = self.child(self.root, first);
            todo.extend(child.map(|child| (child, first.len() + 1)));
        } else {
            todo.push((self.root, 0));
        }
        while let Some((at, start)) = todo.pop() {
            let Some(node) = self.nodes.get(at as usize) else {
                continue;
            };
            // `a/#` matches `a` as well (4.7.1.2).
            if !node.below.is_empty() {
                found(node.below);
            }
            let Some(rest) = name.get(start..) else {
                if !node.here.is_empty() {
                    found(node.here);
                }
                continue;
            };
            if node.children == 0 {
                continue;
            }
            let level = rest.split('/').next().unwrap_or_default();
            // Beyond the end of the name there is nothing left to match, not even an empty level.
            let next = start + level.len() + 1;
            if let Some(child) = self.child(at, level) {
                todo.push((child, next));
            }
            if node.plus != NONE {
                todo.push((node.plus, next));
            }
        }
        self.todo = todo;
    }

    #[cfg(test)]
    fn value(&self, place: Place) -> V {
        let node = self.nodes.get(place.node as usize);
        node.map(|node| if place.below { node.below } else { node.here })
            .unwrap_or_default()
    }

    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        let is_child = |&child: &u32| {
            self.nodes
                .get(child as usize)
                .is_some_and(|node| node.parent == parent && &*node.level == level)
        };
        self.by_level
            .find(self.local.of((parent, level)), is_child)
            .copied()
    }

    #[cfg(test)]
    fn find(&self, filter: &str) -> Option<Place> {
        let mut node = self.root;
        for level in filter.split('/') {
            match level {
                "#" => return Some(Place { node, below: true }),
                "+" => node = self.nodes.get(node as usize)?.plus,
                _ => node = self.child(node, level)?,
            }
            self.nodes.get(node as usize)?;
        }
        Some(Place { node, below: false })
    }

    fn insert(&mut self, filter: &str) -> Option<Place> {
        let mut node = self.root;
        for level in filter.split('/') {
            node = match level {
                "#" => return Some(Place { node, below: true }),
                "+" => match self.nodes.get(node as usize)?.plus {
                    NONE => self.grow(node, level)?,
                    plus => plus,
                },
                _ => match self.child(node, level) {
                    Some(child) => child,
                    None => self.grow(node, level)?,
                },
            };
        }
        Some(Place { node, below: false })
    }

    fn grow(&mut self, parent: u32, level: &str) -> Option<u32> {
        let child = id(self.nodes.insert(Node::new(parent, level)));
        let above = self.nodes.get_mut(parent as usize)?;
        above.children += 1;
        if level == "+" {
            above.plus = child;
        } else {
            let (nodes, local) = (&self.nodes, &self.local);
            let hash_of = |&at: &u32| {
                nodes
                    .get(at as usize)
                    .map_or(0, |node| local.of((node.parent, &*node.level)))
            };
            self.by_level
                .insert_unique(local.of((parent, level)), child, hash_of);
        }
        Some(child)
    }

    /// Removes `node` and those above it that lead to nothing.
    fn prune(&mut self, mut at: u32) {
        while let Some(node) = self.nodes.get(at as usize) {
            let needed = node.children > 0 || !node.here.is_empty() || !node.below.is_empty();
            if needed || at == self.root {
                return;
            }
            let parent = node.parent;
            if &*node.level != "+"
                && let Some(entry) = self
                    .by_level
                    .find_entry(self.local.of((parent, &*node.level)), |&other| other == at)
            {
                entry.remove();
            }
            if let Some(above) = self.nodes.get_mut(parent as usize) {
                above.children -= 1;
                if above.plus == at {
                    above.plus = NONE;
                }
            }
            self.nodes.remove(at as usize);
            at = parent;
        }
    }

    /// Nodes there are, the root included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

impl<V: Default> Node<V> {
    fn new(parent: u32, level: &str) -> Self {
        Self {
            parent,
            level: level.into(),
            children: 0,
            plus: NONE,
            here: V::default(),
            below: V::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Value for u32 {
        fn is_empty(&self) -> bool {
            *self == 0
        }
    }

    fn trie(filters: &[&str]) -> Trie<u32> {
        let mut trie = Trie::new(Local::new([1, 2, 3, 4]));
        for (filter, value) in filters.iter().zip(1..) {
            trie.update(filter, |at| *at = value);
        }
        trie
    }

    fn matching(trie: &mut Trie<u32>, name: &str) -> Vec<u32> {
        let mut found = Vec::new();
        trie.matches(name, |value| found.push(value));
        found.sort_unstable();
        found
    }

    /// MQTT 5.0 section 4.7.1, written as plainly as possible.
    fn matches_plainly(filter: &str, name: &str) -> bool {
        let (mut filter, mut name) = (filter.split('/'), name.split('/'));
        loop {
            match (filter.next(), name.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
    }

    #[test]
    fn mqtt5_4_7_1_2_multi_level_wildcard_matches_the_parent() {
        let mut trie = trie(&["sport/#", "#", "sport/tennis/#"]);
        assert_eq!(matching(&mut trie, "sport"), [1, 2]);
        assert_eq!(matching(&mut trie, "sport/tennis"), [1, 2, 3]);
        assert_eq!(matching(&mut trie, "sports"), [2]);
    }

    #[test]
    fn mqtt5_4_7_1_3_single_level_wildcard_matches_exactly_one_level() {
        let mut trie = trie(&["+", "/+", "+/+", "sport/+", "+/b/+"]);
        assert_eq!(matching(&mut trie, "finance"), [1]);
        assert_eq!(matching(&mut trie, "/finance"), [2, 3]);
        assert_eq!(matching(&mut trie, "sport/"), [3, 4]);
        assert_eq!(matching(&mut trie, "a/b/c"), [5]);
    }

    #[test]
    fn mqtt5_4_7_2_wildcards_at_the_first_level_match_no_name_with_a_dollar() {
        let mut trie = trie(&["#", "+/a", "$SYS/#", "$SYS/+", "$SYS", "+"]);
        assert_eq!(matching(&mut trie, "$SYS/a"), [3, 4]);
        assert_eq!(matching(&mut trie, "$SYS"), [3, 5]);
        assert!(matching(&mut trie, "$other/a").is_empty());
        assert_eq!(matching(&mut trie, "x/a"), [1, 2]);
    }

    #[test]
    fn a_filter_without_a_value_leaves_nothing_behind() {
        let mut trie = trie(&["a/+/c/#", "a/+/d", "+"]);
        for filter in ["a/+/c/#", "a/+/d", "+"] {
            trie.update(filter, |at| *at = 0);
        }
        assert_eq!(trie.len(), 1);
        assert!(matching(&mut trie, "a").is_empty());
        assert_eq!(trie.get("a/+/d"), 0);
    }

    fn levels(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(choices), 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn finds_what_the_plain_rule_finds(
            filters in prop::collection::vec(levels(&["a", "b", "", "+"]), 1..20),
            ends in prop::collection::vec(any::<bool>(), 20),
            names in prop::collection::vec(levels(&["a", "b", "", "c"]), 1..10),
            removed in prop::collection::vec(any::<bool>(), 20),
        ) {
            let mut filters: Vec<_> = filters.iter().zip(ends)
                .map(|(filter, more)| if more { format!("{filter}/#") } else { filter.clone() })
                .collect();
            filters.sort();
            filters.dedup();
            let mut trie = trie(&filters.iter().map(String::as_str).collect::<Vec<_>>());
            let mut values: Vec<_> = filters.iter().zip(1_u32..).collect();
            for ((filter, _), _) in values.iter().zip(&removed).filter(|(_, removed)| **removed) {
                trie.update(filter, |at| *at = 0);
            }
            values = values.into_iter().zip(removed).filter(|(_, removed)| !removed).map(|(v, _)| v).collect();
            for name in names {
                let expected: Vec<_> = values.iter()
                    .filter(|(filter, _)| matches_plainly(filter, &name)).map(|(_, value)| *value).collect();
                prop_assert_eq!(matching(&mut trie, &name), expected);
            }
        }
    }
}
