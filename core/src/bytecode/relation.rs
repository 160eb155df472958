//! How two values are compared, for all that compares them.

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Relation {
    /// Whether it holds.
    #[inline(always)]
    pub(crate) fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Relation::Eq => left == right,
            Relation::Ne => left != right,
            Relation::Lt => left < right,
            Relation::Le => left <= right,
            Relation::Gt => left > right,
            Relation::Ge => left >= right,
        }
    }

    /// The one that holds when the operands change places.
    pub(crate) fn swapped(self) -> Self {
        match self {
            Relation::Lt => Relation::Gt,
            Relation::Gt => Relation::Lt,
            Relation::Le => Relation::Ge,
            Relation::Ge => Relation::Le,
            same => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_that_change_places_say_the_same() {
        use Relation as R;
        for relation in [R::Eq, R::Ne, R::Lt, R::Le, R::Gt, R::Ge] {
            for (left, right) in [(1, 2), (2, 2), (3, 2)] {
                assert_eq!(relation.holds(left, right), relation.swapped().holds(right, left));
            }
        }
    }
}
