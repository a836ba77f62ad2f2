//! Which values the configured labels take: what was declared has a place, everything else shares the first one.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::row::{NONE, OTHER, Source};

/// The place of [`OTHER`] in every list.
pub(super) const OTHER_PLACE: usize = 0;
/// The place of [`NONE`] in every configured list.
pub(super) const NONE_PLACE: usize = 1;
/// Places of a configured list that are not declared.
const BUILT_IN: usize = 2;

/// The lists of every [`Source`]. They only grow, up to a limit.
#[derive(Default)]
pub(super) struct Known {
    lists: [RwLock<List>; Source::ALL.len()],
}

#[derive(Default)]
struct List {
    places: HashMap<Box<str>, usize>,
    values: Vec<Box<str>>,
}

/// Places that a list of this source can have.
pub(super) fn places_max(source: Source) -> usize {
    source.values_max() + BUILT_IN
}

impl Known {
    /// Gives a place to each value that has none, as long as there is room.
    pub(super) fn declare<'a>(&self, source: Source, values: impl IntoIterator<Item = &'a str>) {
        let mut list = self.list(source).write().unwrap_or_else(PoisonError::into_inner);
        for value in values {
            let is_new = ![OTHER, NONE].contains(&value) && !list.places.contains_key(value);
            if is_new && list.values.len() < source.values_max() {
                let place = list.values.len() + BUILT_IN;
                list.places.insert(value.into(), place);
                list.values.push(value.into());
            }
        }
    }

    /// The place of a value.
    pub(super) fn place(&self, source: Source, value: &str) -> usize {
        if value == NONE {
            return NONE_PLACE;
        }
        let list = self.list(source).read().unwrap_or_else(PoisonError::into_inner);
        list.places.get(value).copied().unwrap_or(OTHER_PLACE)
    }

    /// What stands at a place.
    pub(super) fn value(&self, source: Source, place: usize) -> String {
        match place {
            OTHER_PLACE => OTHER.to_owned(),
            NONE_PLACE => NONE.to_owned(),
            _ => {
                let list = self.list(source).read().unwrap_or_else(PoisonError::into_inner);
                list.values.get(place - BUILT_IN).map_or_else(|| OTHER.to_owned(), |value| value.clone().into())
            }
        }
    }

    fn list(&self, source: Source) -> &RwLock<List> {
        let [targets, rules, kinds, codes] = &self.lists;
        match source {
            Source::Targets => targets,
            Source::Rules => rules,
            Source::Kinds => kinds,
            Source::ErrorCodes => codes,
        }
    }
}
