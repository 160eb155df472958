//! Unification: what variables must stand for, so that two types are the same.
//!
//! Robinson's problem, by the algorithm of Huet: types are nodes of a graph, and to unify two of them is
//! to merge their classes, and those of their parts in turn, in a union-find structure; that every class
//! stands for a finite type (the occurs check) is found out at the end, by one walk over what was
//! reached. So the time is nearly linear in the sizes of the two types, where substitution takes
//! exponential time on some. The walk is left out where no class that was merged is a part of anything, because a
//! circle leads back into such a class: variables that are new cost the same however many there are. Nothing here
//! recurses on input. Source: F. Baader and W. Snyder,
//! "Unification Theory", section 2.3, in Handbook of Automated Reasoning, 2001.
//!
//! Whatever is refused leaves everything as it was.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::{MAX_DEPTH, MAX_NODES, Type};

/// A type inside a [`Unifier`], or a variable of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

/// Why two types cannot be made the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnifyError {
    /// Two types that are different.
    Conflict(Conflict),
    /// A variable would have to stand for a type that it is a part of.
    Infinite {
        /// The variable.
        variable: Box<str>,
        /// The type.
        ty: Type,
    },
    /// A type larger than those that can be read.
    TooLarge,
}

/// Two types that are different, and the types that they are parts of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The one side.
    pub left: Type,
    /// The other side.
    pub right: Type,
    /// Where they differ: a part of the one side.
    pub left_part: Type,
    /// And one of the other.
    pub right_part: Type,
}

impl fmt::Display for UnifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(Conflict { left, right, left_part, right_part }) => {
                write!(f, "`{left}` and `{right}` are different types")?;
                if (left, right) == (left_part, right_part) {
                    return Ok(());
                }
                write!(f, ": `{left_part}` here is `{right_part}` there")
            }
            Self::Infinite { variable, ty } => {
                write!(f, "`?{variable}` would have to be a part of itself: `{ty}`")
            }
            Self::TooLarge => write!(
                f,
                "a type with more than {MAX_NODES} types in it, or more than {MAX_DEPTH} levels"
            ),
        }
    }
}

impl core::error::Error for UnifyError {}

/// What a node is, without what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Head {
    Variable(Box<str>),
    Word(Type),
    Named(Box<str>),
    Array,
    Simd(u32),
    Tuple,
    /// The result is the last part.
    Function,
}

#[derive(Clone, Debug)]
struct Node {
    head: Head,
    /// Its parts: a range of [`Unifier::parts`].
    parts: (u32, u32),
    /// The next node on the way to the one that stands for the class; itself when it does.
    parent: TypeId,
    /// About how many levels of parents there are below it.
    rank: u8,
    /// The node that says what the class is, of the one that stands for it.
    schema: TypeId,
    /// Whether a node of the class is a part of another node, of the one that stands for it.
    is_part: bool,
}

/// What a node was before a unification changed it.
#[derive(Clone, Debug)]
struct Before {
    id: TypeId,
    parent: TypeId,
    rank: u8,
    schema: TypeId,
    is_part: bool,
}

/// The variables of types that are entered, by their names.
pub type Variables = BTreeMap<Box<str>, TypeId>;

/// Types, and which of them are the same.
#[derive(Clone, Debug, Default)]
pub struct Unifier {
    nodes: Vec<Node>,
    parts: Vec<TypeId>,
    /// What the last unification changed.
    trail: Vec<Before>,
    /// When a node was last looked at by the walk that looks for circles, and whether it is done.
    marks: Vec<(u32, bool)>,
    walk: u32,
    /// Classes that walks have entered.
    #[cfg(test)]
    entered: u64,
}

/// What a walk does next.
enum Step {
    Enter(TypeId),
    Leave(TypeId),
}

impl Unifier {
    /// No types.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new variable; the name is for errors alone.
    ///
    /// # Errors
    /// [`UnifyError::TooLarge`] after 2^32 types.
    pub fn variable(&mut self, name: &str) -> Result<TypeId, UnifyError> {
        self.push(Head::Variable(name.into()), &[])
    }

    /// Enters a type, in which the variable called `?T` is the type that `variables` has for `T`; one
    /// that it has none for is new.
    ///
    /// # Errors
    /// [`UnifyError::TooLarge`].
    pub fn enter(&mut self, ty: &Type, variables: &mut Variables) -> Result<TypeId, UnifyError> {
        let (nodes, depth) = ty.size();
        if nodes > MAX_NODES || depth > MAX_DEPTH {
            return Err(UnifyError::TooLarge);
        }
        self.enter_part(ty, variables)
    }

    /// The type is not deeper than [`MAX_DEPTH`].
    fn enter_part(&mut self, ty: &Type, variables: &mut Variables) -> Result<TypeId, UnifyError> {
        if let Type::Variable(name) = ty {
            if let Some(known) = variables.get(name) {
                return Ok(*known);
            }
            let new = self.variable(name)?;
            variables.insert(name.clone(), new);
            return Ok(new);
        }
        let head = match ty {
            Type::Named { name, .. } => Head::Named(name.clone()),
            Type::Array(_) => Head::Array,
            Type::Simd { lanes, .. } => Head::Simd(*lanes),
            Type::Tuple(_) => Head::Tuple,
            Type::Function { .. } => Head::Function,
            word => Head::Word(word.clone()),
        };
        let mut parts = Vec::new();
        for part in ty.parts() {
            parts.push(self.enter_part(part, variables)?);
        }
        self.push(head, &parts)
    }

    fn push(&mut self, head: Head, parts: &[TypeId]) -> Result<TypeId, UnifyError> {
        let too_large = |_| UnifyError::TooLarge;
        let id = TypeId(u32::try_from(self.nodes.len()).map_err(too_large)?);
        let first = u32::try_from(self.parts.len()).map_err(too_large)?;
        self.parts.extend_from_slice(parts);
        let end = u32::try_from(self.parts.len()).map_err(too_large)?;
        for part in parts {
            let root = self.find(*part);
            let place = usize::try_from(root.0).unwrap_or(usize::MAX);
            if let Some(node) = self.nodes.get_mut(place) {
                node.is_part = true;
            }
        }
        let parts = (first, end);
        self.nodes.push(Node { head, parts, parent: id, rank: 0, schema: id, is_part: false });
        Ok(id)
    }

    fn node(&self, id: TypeId) -> Option<&Node> {
        self.nodes.get(usize::try_from(id.0).ok()?)
    }

    fn parts(&self, id: TypeId) -> &[TypeId] {
        let range = self.node(id).map_or((0, 0), |node| node.parts);
        let at = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
        self.parts.get(at(range.0)..at(range.1)).unwrap_or(&[])
    }

    /// The node that stands for the class. Ways are short, because the higher tree always becomes the
    /// parent; none is changed on the way, so that all changes can be taken back.
    fn find(&self, mut id: TypeId) -> TypeId {
        while let Some(node) = self.node(id).filter(|node| node.parent != id) {
            id = node.parent;
        }
        id
    }

    /// The node that says what the class of `id` is.
    #[inline(never)]
    fn schema(&self, id: TypeId) -> TypeId {
        let root = self.find(id);
        self.node(root).map_or(root, |node| node.schema)
    }

    fn change(&mut self, id: TypeId, change: impl FnOnce(&mut Node)) {
        let place = usize::try_from(id.0).unwrap_or(usize::MAX);
        if let Some(node) = self.nodes.get_mut(place) {
            let Node { parent, rank, schema, is_part, .. } = *node;
            self.trail.push(Before { id, parent, rank, schema, is_part });
            change(node);
        }
    }

    /// Makes one class of two, which `schema` says what it is.
    fn merge(&mut self, one: TypeId, other: TypeId, schema: TypeId) {
        let rank = |id| self.node(id).map_or(0, |node| node.rank);
        let (one_rank, other_rank) = (rank(one), rank(other));
        let is_part = self.is_part(one) || self.is_part(other);
        let (root, child) = if one_rank < other_rank { (other, one) } else { (one, other) };
        self.change(child, |node| node.parent = root);
        let higher = u8::from(one_rank == other_rank);
        self.change(root, |node| {
            node.schema = schema;
            node.rank = node.rank.saturating_add(higher);
            node.is_part = is_part;
        });
    }

    /// Whether anything is made of the class that `root` stands for.
    fn is_part(&self, root: TypeId) -> bool {
        self.node(root).is_some_and(|node| node.is_part)
    }

    /// Whether the last unification can have closed a circle: it leads through a class that was merged, which
    /// something in the circle is made of.
    fn may_close_circle(&self) -> bool {
        self.trail.iter().any(|before| self.is_part(before.id))
    }

    /// Makes two types the same.
    ///
    /// # Errors
    /// [`UnifyError`]; everything is then as it was.
    pub fn unify(&mut self, left: TypeId, right: TypeId) -> Result<(), UnifyError> {
        self.trail.clear();
        let differ = self.merge_all(left, right);
        let walks = differ.is_ok() && self.may_close_circle();
        let circle = if walks { self.circle(left) } else { None };
        let error = match (differ, circle) {
            (Ok(()), None) => return Ok(()),
            (Ok(()), Some(variable)) => {
                self.undo();
                self.infinite(variable, left, right)
            }
            (Err((left_part, right_part)), _) => {
                self.undo();
                let shown = [left, right, left_part, right_part].map(|id| self.shown(id));
                let [left, right, left_part, right_part] = shown;
                UnifyError::Conflict(Conflict { left, right, left_part, right_part })
            }
        };
        Err(error)
    }

    fn undo(&mut self) {
        while let Some(Before { id, parent, rank, schema, is_part }) = self.trail.pop() {
            let place = usize::try_from(id.0).unwrap_or(usize::MAX);
            if let Some(node) = self.nodes.get_mut(place) {
                (node.parent, node.rank, node.schema, node.is_part) =
                    (parent, rank, schema, is_part);
            }
        }
    }

    /// Merges the classes of two types and of their parts; two parts that differ.
    fn merge_all(&mut self, left: TypeId, right: TypeId) -> Result<(), (TypeId, TypeId)> {
        let mut pairs = Vec::from([(left, right)]);
        while let Some((left, right)) = pairs.pop() {
            let (one, other) = (self.find(left), self.find(right));
            if one == other {
                continue;
            }
            let (left, right) = (self.schema(one), self.schema(other));
            let heads = (self.node(left), self.node(right));
            let (Some(left_node), Some(right_node)) = heads else { continue };
            match (&left_node.head, &right_node.head) {
                (_, Head::Variable(_)) => self.merge(one, other, left),
                (Head::Variable(_), _) => self.merge(one, other, right),
                (a, b) if a == b && self.parts(left).len() == self.parts(right).len() => {
                    self.merge(one, other, left);
                    let parts = self.parts(left).iter().zip(self.parts(right));
                    // Popped from the first to the last.
                    pairs.extend(parts.rev().map(|(left, right)| (*left, *right)));
                }
                _ => return Err((left, right)),
            }
        }
        Ok(())
    }

    /// A class that is a part of itself, reached from `start`. Each class is entered once.
    fn circle(&mut self, start: TypeId) -> Option<TypeId> {
        self.walk = self.walk.wrapping_add(1);
        self.marks.resize(self.nodes.len(), (0, false));
        if self.walk == 0 {
            self.marks.fill((0, false));
            self.walk = 1;
        }
        let mut steps = Vec::from([Step::Enter(start)]);
        while let Some(step) = steps.pop() {
            let (Step::Enter(id) | Step::Leave(id)) = step;
            let root = self.find(id);
            let place = usize::try_from(root.0).unwrap_or(usize::MAX);
            let mark = self.marks.get_mut(place)?;
            match step {
                Step::Leave(_) => *mark = (self.walk, true),
                Step::Enter(_) if *mark == (self.walk, true) => {}
                Step::Enter(_) if mark.0 == self.walk => return Some(root),
                Step::Enter(_) => {
                    #[cfg(test)]
                    {
                        self.entered += 1;
                    }
                    *mark = (self.walk, false);
                    steps.push(Step::Leave(root));
                    let schema = self.schema(root);
                    steps.extend(self.parts(schema).iter().map(|part| Step::Enter(*part)));
                }
            }
        }
        None
    }

    /// Why the class of `circle` would have no end, told of the types as they are now.
    fn infinite(&self, circle: TypeId, left: TypeId, right: TypeId) -> UnifyError {
        let name = |id| match self.node(self.schema(id)).map(|node| &node.head) {
            Some(Head::Variable(name)) => Some(name.clone()),
            _ => None,
        };
        let (variable, ty) = match (name(left), name(right)) {
            (Some(variable), _) => (Some(variable), right),
            (None, Some(variable)) => (Some(variable), left),
            (None, None) => (name(circle), right),
        };
        UnifyError::Infinite { variable: variable.unwrap_or_default(), ty: self.shown(ty) }
    }

    /// The type as far as it is known, cut off where it is too large: for errors.
    fn shown(&self, id: TypeId) -> Type {
        self.resolve(id).unwrap_or_else(|_| Type::Variable("...".into()))
    }

    /// What a type is now; variables in it are those that nothing is known of.
    ///
    /// # Errors
    /// [`UnifyError::TooLarge`] when it would be larger than what can be read: a few variables can stand
    /// for a type that no memory holds.
    pub fn resolve(&self, id: TypeId) -> Result<Type, UnifyError> {
        let mut left = MAX_NODES;
        self.check_size(id, 1, &mut left)?;
        self.resolve_part(id)
    }

    /// Counts the nodes and the levels of a type before anything is allocated for it.
    fn check_size(&self, id: TypeId, depth: usize, left: &mut usize) -> Result<(), UnifyError> {
        *left = left.checked_sub(1).filter(|_| depth <= MAX_DEPTH).ok_or(UnifyError::TooLarge)?;
        let parts = self.parts(self.schema(id)).iter();
        parts.copied().try_for_each(|part| self.check_size(part, depth + 1, left))
    }

    /// A type of a size that was checked.
    fn resolve_part(&self, id: TypeId) -> Result<Type, UnifyError> {
        let schema = self.schema(id);
        let node = self.node(schema).ok_or(UnifyError::TooLarge)?;
        let mut parts = Vec::new();
        for part in self.parts(schema) {
            parts.push(self.resolve_part(*part)?);
        }
        let single = |parts: Vec<Type>| parts.into_iter().next().map(Box::new);
        let ty = match &node.head {
            Head::Variable(name) => Some(Type::Variable(name.clone())),
            Head::Word(word) => Some(word.clone()),
            Head::Named(name) => Some(Type::Named { name: name.clone(), args: parts }),
            Head::Array => single(parts).map(Type::Array),
            Head::Simd(lanes) => single(parts).map(|elem| Type::Simd { lanes: *lanes, elem }),
            Head::Tuple => Some(Type::Tuple(parts)),
            Head::Function => {
                parts.pop().map(|result| Type::Function { args: parts, result: Box::new(result) })
            }
        };
        ty.ok_or(UnifyError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::format;
    use std::string::{String, ToString};
    use std::vec;

    use super::super::tests::Numbers;
    use super::*;
    use crate::testing::some;

    type Substitution = BTreeMap<Box<str>, Type>;

    /// Robinson's algorithm as the books have it: substitute, and look into every type again.
    fn naive(left: &Type, right: &Type) -> Option<Substitution> {
        let mut known = Substitution::new();
        let mut pairs = vec![(left.clone(), right.clone())];
        while let Some((left, right)) = pairs.pop() {
            let (left, right) = (apply(&known, &left), apply(&known, &right));
            match (&left, &right) {
                _ if left == right => {}
                (Type::Variable(name), ty) | (ty, Type::Variable(name)) => {
                    if occurs(name, ty) {
                        return None;
                    }
                    let one = Substitution::from([(name.clone(), ty.clone())]);
                    known = known.into_iter().map(|(n, ty)| (n, apply(&one, &ty))).collect();
                    known.extend(one);
                }
                _ if same_head(&left, &right) => {
                    pairs.extend(left.parts().cloned().zip(right.parts().cloned()));
                }
                _ => return None,
            }
        }
        Some(known)
    }

    fn same_head(left: &Type, right: &Type) -> bool {
        let head = |ty: &Type| {
            let mut ty = ty.clone();
            match &mut ty {
                Type::Named { args, .. } | Type::Tuple(args) => args.fill(Type::Bool),
                Type::Array(elem) | Type::Simd { elem, .. } => **elem = Type::Bool,
                Type::Function { args, result } => {
                    args.fill(Type::Bool);
                    **result = Type::Bool;
                }
                _ => {}
            }
            ty
        };
        head(left) == head(right)
    }

    fn occurs(name: &str, ty: &Type) -> bool {
        matches!(ty, Type::Variable(other) if **other == *name)
            || ty.parts().any(|part| occurs(name, part))
    }

    fn apply(known: &Substitution, ty: &Type) -> Type {
        let all = |types: &[Type]| types.iter().map(|ty| apply(known, ty)).collect();
        match ty {
            Type::Variable(name) => known.get(name).unwrap_or(ty).clone(),
            Type::Named { name, args } => Type::Named { name: name.clone(), args: all(args) },
            Type::Tuple(parts) => Type::Tuple(all(parts)),
            Type::Array(elem) => Type::Array(Box::new(apply(known, elem))),
            Type::Simd { lanes, elem } => {
                Type::Simd { lanes: *lanes, elem: Box::new(apply(known, elem)) }
            }
            Type::Function { args, result } => {
                Type::Function { args: all(args), result: Box::new(apply(known, result)) }
            }
            word => word.clone(),
        }
    }

    fn unify(left: &str, right: &str) -> Result<String, String> {
        let (mut unifier, mut variables) = (Unifier::new(), Variables::new());
        let [left, right] = [left, right]
            .map(|text| unifier.enter(&Type::parse(text).unwrap(), &mut variables).unwrap());
        unifier.unify(left, right).map_err(|error| error.to_string())?;
        assert_eq!(unifier.resolve(left), unifier.resolve(right));
        Ok(unifier.resolve(left).unwrap().to_string())
    }

    #[test]
    fn what_can_be_the_same_becomes_it() {
        for (left, right, both) in [
            ("?T", "i64", "i64"),
            ("Vec<?T>", "Vec<i64>", "Vec<i64>"),
            ("Pair<?A, ?B>", "Pair<?B, f64>", "Pair<f64, f64>"),
            ("fn(?T) -> ?T", "fn([u8]) -> ?R", "fn([u8]) -> [u8]"),
            ("(?A, ?A, ?B)", "(?B, [?C], [i8])", "([i8], [i8], [i8])"),
            ("simd<?T, 4>", "f32x4", "f32x4"),
        ] {
            assert_eq!(unify(left, right).as_deref(), Ok(both), "{left} {right}");
        }
    }

    #[test]
    fn what_cannot_is_told_with_both_sides() {
        for (left, right, why) in [
            ("i64", "f64", "`i64` and `f64` are different types"),
            (
                "Vec<i64>",
                "Vec<f64>",
                "`Vec<i64>` and `Vec<f64>` are different types: `i64` here is `f64` there",
            ),
            (
                "Pair<?T, ?T>",
                "Pair<i64, bool>",
                "`Pair<?T, ?T>` and `Pair<i64, bool>` are different types: `?T` here is `bool` there",
            ),
            ("?T", "Vec<?T>", "`?T` would have to be a part of itself: `Vec<?T>`"),
            ("(?A, ?B)", "([?B], [?A])", "`?B` would have to be a part of itself: `([?B], [?A])`"),
            ("f32x4", "f32x8", "`f32x4` and `f32x8` are different types"),
            ("(i8, i8)", "(i8)", "`(i8, i8)` and `(i8)` are different types"),
        ] {
            let found = unify(left, right).unwrap_err();
            assert!(found.starts_with(why.split(" `?T` here").next().unwrap()), "{found}");
        }
    }

    #[test]
    fn agrees_with_the_algorithm_of_the_books() {
        let mut numbers = Numbers(5);
        let (mut unified, mut rounds) = (0, 0);
        for _ in some(0..40_000, 20) {
            rounds += 1;
            let types = [numbers.ty(3, true), numbers.ty(3, true)];
            // Two of one shape are more likely to be the same.
            let types = if numbers.below(2) == 0 {
                types.map(|ty| Type::Tuple(vec![Type::Variable("T".into()), ty]))
            } else {
                types
            };
            let (mut unifier, mut variables) = (Unifier::new(), Variables::new());
            let [left, right] = [0, 1].map(|i| unifier.enter(&types[i], &mut variables).unwrap());
            let before = format!("{:?}", unifier.nodes);
            match (unifier.unify(left, right), naive(&types[0], &types[1])) {
                (Ok(()), Some(known)) => {
                    unified += 1;
                    let found = unifier.resolve(left).unwrap();
                    assert_eq!(Ok(&found), unifier.resolve(right).as_ref());
                    // Which of two variables stands for both is nobody's promise.
                    let expected = apply(&known, &types[0]);
                    assert!(naive(&found, &expected).is_some(), "{found} {expected}");
                    assert_eq!(found.size(), expected.size());
                }
                (Err(_), None) => assert_eq!(format!("{:?}", unifier.nodes), before),
                (ours, naive) => panic!("{} {}: {ours:?} {naive:?}", types[0], types[1]),
            }
        }
        assert!(unified > rounds / 40, "{unified} of {rounds}");
    }

    /// (x1, x2, ...) with ((x0, x0), (x1, x1), ...): a type of 2^n nodes, made in linear time.
    #[test]
    fn a_type_that_grows_exponentially_takes_linear_time_and_is_refused() {
        let (mut unifier, mut variables) = (Unifier::new(), Variables::new());
        let variable = |i: usize| Type::Variable(format!("x{i}").into());
        let count = if cfg!(miri) { 40 } else { 400 };
        let left: Vec<_> = (1..count).map(variable).collect();
        let right: Vec<_> =
            (0..count - 1).map(|i| Type::Tuple(vec![variable(i), variable(i)])).collect();
        let mut last = None;
        for (left, right) in left.iter().zip(&right) {
            let [left, right] = [left, right].map(|ty| unifier.enter(ty, &mut variables).unwrap());
            unifier.unify(left, right).unwrap();
            last = Some(left);
        }
        assert_eq!(unifier.resolve(last.unwrap()), Err(UnifyError::TooLarge));
        let first = variables["x0"];
        assert!(matches!(unifier.unify(first, last.unwrap()), Err(UnifyError::Infinite { .. })));
    }

    #[test]
    fn a_long_chain_of_variables_is_one_class() {
        let mut unifier = Unifier::new();
        let all: Vec<_> = (0..if cfg!(miri) { 100 } else { 10_000 })
            .map(|i| unifier.variable(&format!("v{i}")).unwrap())
            .collect();
        for pair in all.windows(2) {
            unifier.unify(pair[0], pair[1]).unwrap();
        }
        let known = unifier.enter(&Type::I64, &mut Variables::new()).unwrap();
        unifier.unify(all[all.len() / 2], known).unwrap();
        assert!(all.iter().all(|id| unifier.resolve(*id) == Ok(Type::I64)));
        assert!(unifier.nodes.iter().all(|node| node.rank < 16));
    }

    /// As many variables as `type_unifier_unify` may be given one after another. Looking through a list of their
    /// names, or through all that was said before, would take half a billion steps for each thousand of them: this
    /// test found both, and ran for more than ten minutes.
    #[test]
    fn time_is_nearly_linear_in_the_number_of_variables() {
        let count = if cfg!(miri) { 100 } else { 400_000 };
        let variable = |i: usize| Type::Variable(format!("T{i}").into());
        let vec_of = |ty: Type| Type::Named { name: "Vec".into(), args: vec![ty] };
        // Each is unified with a type around the one before it, with one around the one behind it, with the one
        // behind it, and with a type that has no variables.
        let shapes: [&dyn Fn(usize) -> [Type; 2]; 4] = [
            &|i| [variable(i + 1), vec_of(variable(i))],
            &|i| [vec_of(variable(i + 1)), variable(i)],
            &|i| [variable(i), variable(i + 1)],
            &|i| [variable(i), Type::I64],
        ];
        for (number, shape) in shapes.iter().enumerate() {
            let (mut unifier, mut variables) = (Unifier::new(), Variables::new());
            for i in 0..count {
                let types = shape(i);
                let [left, right] =
                    [0, 1].map(|side| unifier.enter(&types[side], &mut variables).unwrap());
                unifier.unify(left, right).unwrap();
            }
            assert!(unifier.entered <= 8 * count as u64, "{number}: {}", unifier.entered);
            assert!(variables.len() >= count);
        }
    }

    /// Circles through classes that were parts before, and through those that became parts later.
    #[test]
    fn no_circle_is_missed_because_the_walk_was_left_out() {
        let mut numbers = Numbers(77);
        let (mut circles, mut sound) = (0, 0);
        for _ in some(0..4_000, 20) {
            let (mut unifier, mut variables) = (Unifier::new(), Variables::new());
            let variable =
                |numbers: &mut Numbers| Type::Variable(format!("v{}", numbers.below(6)).into());
            for _ in 0..8 {
                let left = variable(&mut numbers);
                let right = match numbers.below(3) {
                    0 => variable(&mut numbers),
                    1 => Type::Array(Box::new(variable(&mut numbers))),
                    _ => Type::Tuple(vec![variable(&mut numbers), variable(&mut numbers)]),
                };
                let [left, right] =
                    [left, right].map(|ty| unifier.enter(&ty, &mut variables).unwrap());
                let unified = unifier.unify(left, right);
                circles += u32::from(matches!(unified, Err(UnifyError::Infinite { .. })));
                sound += u32::from(unified.is_ok());
                // Whatever was accepted is finite.
                let all: Vec<_> = variables.values().copied().collect();
                assert!(all.iter().all(|id| unifier.circle(*id).is_none()));
            }
        }
        assert!(circles > 100 && sound > 100, "{circles} {sound}");
    }
}
