//! Unification of type terms.
//!
//! The algorithm is Huet's: types are nodes of a graph, and unification merges the classes of two nodes,
//! and those of their parts, in a union-find structure. The occurs check is one walk over the merged
//! classes at the end. Time is therefore nearly linear in the sizes of the types, where substitution can
//! be exponential. The walk is omitted if no merged class is a part of another node, because every cycle
//! contains such a class. Nothing here recurses on unbounded input. Source: F. Baader and W. Snyder,
//! "Unification Theory", section 2.3, in Handbook of Automated Reasoning, 2001.
//!
//! A failed unification leaves the state unchanged.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::term::{MAX_DEPTH, MAX_NODES, Type};

/// A type or variable of a [`Unifier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(usize);

/// The reason why two types cannot be unified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant explains its fields")]
pub enum UnifyError {
    /// The types differ.
    #[error("{0}")]
    Conflict(Conflict),
    /// A variable would have to equal a type that contains it.
    #[error("`?{variable}` would contain itself: `{ty}`")]
    Infinite { variable: Box<str>, ty: Type },
    /// A type exceeds [`MAX_NODES`] or [`MAX_DEPTH`].
    #[error("a type has more than {MAX_NODES} nodes or {MAX_DEPTH} levels")]
    TooLarge,
}

/// Two types that differ, and the parts in which they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The left type.
    pub left: Type,
    /// The right type.
    pub right: Type,
    /// The part of the left type.
    pub left_part: Type,
    /// The part of the right type.
    pub right_part: Type,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { left, right, left_part, right_part } = self;
        write!(f, "`{left}` and `{right}` are different types")?;
        if (left, right) == (left_part, right_part) {
            return Ok(());
        }
        write!(f, ": `{left_part}` differs from `{right_part}`")
    }
}

/// The constructor of a node, without its parts.
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
    /// The range of its parts in [`Unifier::parts`].
    parts: Range<usize>,
    class: Class,
}

/// The fields of a node that unification changes.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// The parent in the union-find tree; the root is its own parent.
    parent: TypeId,
    /// An upper bound of the height of the tree below.
    rank: u8,
    /// Of a root: the node that holds the constructor of the class.
    schema: TypeId,
    /// Of a root: whether a node of the class is a part of another node.
    is_part: bool,
}

/// Variables by name, shared by the types that [`Unifier::add`] adds.
pub type Variables = BTreeMap<Box<str>, TypeId>;

/// A set of types and the equalities between them.
#[derive(Clone, Debug, Default)]
pub struct Unifier {
    nodes: Vec<Node>,
    parts: Vec<TypeId>,
    /// The changes of the last unification, for undo.
    trail: Vec<(TypeId, Class)>,
    /// By node: the last occurs check that visited it, and whether that check is done with it.
    marks: Vec<(u32, bool)>,
    /// The number of the current occurs check.
    walk: u32,
    /// Whether the last unification has bound a variable, to a type or to another variable.
    has_bound: bool,
    /// The number of classes that all occurs checks have visited.
    #[cfg(test)]
    entered: u64,
}

/// A step of the occurs check.
enum Step {
    Enter(TypeId),
    Leave(TypeId),
}

impl Unifier {
    /// Adds a variable. The name only serves error messages.
    pub fn variable(&mut self, name: &str) -> TypeId {
        self.push(Head::Variable(name.into()), &[])
    }

    /// Adds a type. A variable `?T` in it is the node `variables["T"]`, which is added if absent.
    ///
    /// # Errors
    /// [`UnifyError::TooLarge`].
    pub fn add(&mut self, ty: &Type, variables: &mut Variables) -> Result<TypeId, UnifyError> {
        let (nodes, depth) = ty.size();
        let fits = nodes <= MAX_NODES && depth <= MAX_DEPTH;
        if fits { Ok(self.add_part(ty, variables)) } else { Err(UnifyError::TooLarge) }
    }

    /// Recurses at most [`MAX_DEPTH`] levels: `ty` has been checked.
    fn add_part(&mut self, ty: &Type, variables: &mut Variables) -> TypeId {
        let head = match ty {
            Type::Variable(name) => {
                return *variables.entry(name.clone()).or_insert_with(|| self.variable(name));
            }
            Type::Named { name, .. } => Head::Named(name.clone()),
            Type::Array(_) => Head::Array,
            Type::Simd { lanes, .. } => Head::Simd(*lanes),
            Type::Tuple(_) => Head::Tuple,
            Type::Function { .. } => Head::Function,
            word => Head::Word(word.clone()),
        };
        let parts: Vec<_> = ty.parts().map(|part| self.add_part(part, variables)).collect();
        self.push(head, &parts)
    }

    fn push(&mut self, head: Head, parts: &[TypeId]) -> TypeId {
        let (id, first) = (TypeId(self.nodes.len()), self.parts.len());
        self.parts.extend_from_slice(parts);
        for part in parts {
            let root = self.find(*part);
            if let Some(node) = self.nodes.get_mut(root.0) {
                node.class.is_part = true;
            }
        }
        let class = Class { parent: id, rank: 0, schema: id, is_part: false };
        self.nodes.push(Node { head, parts: first..self.parts.len(), class });
        id
    }

    fn node(&self, id: TypeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    fn parts(&self, id: TypeId) -> &[TypeId] {
        self.node(id).and_then(|node| self.parts.get(node.parts.clone())).unwrap_or(&[])
    }

    /// The root of the class. Union by rank keeps paths short; paths are not compressed, so that undo is
    /// simple.
    fn find(&self, mut id: TypeId) -> TypeId {
        while let Some(node) = self.node(id).filter(|node| node.class.parent != id) {
            id = node.class.parent;
        }
        id
    }

    /// The node with the constructor of the class of `id`.
    fn schema(&self, id: TypeId) -> TypeId {
        let root = self.find(id);
        self.node(root).map_or(root, |node| node.class.schema)
    }

    fn change(&mut self, id: TypeId, change: impl FnOnce(&mut Class)) {
        if let Some(node) = self.nodes.get_mut(id.0) {
            self.trail.push((id, node.class));
            change(&mut node.class);
        }
    }

    /// Merges two classes; `schema` holds the constructor of the result.
    fn merge(&mut self, one: TypeId, other: TypeId, schema: TypeId) {
        let rank = |id| self.node(id).map_or(0, |node| node.class.rank);
        let (one_rank, other_rank) = (rank(one), rank(other));
        let is_part = self.is_part(one) || self.is_part(other);
        let (root, child) = if one_rank < other_rank { (other, one) } else { (one, other) };
        self.change(child, |class| class.parent = root);
        let higher = u8::from(one_rank == other_rank);
        self.change(root, |class| {
            let rank = class.rank.saturating_add(higher);
            *class = Class { schema, rank, is_part, ..*class };
        });
    }

    /// Whether a node of the class with this root is a part of another node.
    fn is_part(&self, root: TypeId) -> bool {
        self.node(root).is_some_and(|node| node.class.is_part)
    }

    /// Whether the last unification may have created a cycle: a cycle contains a merged class that is a part
    /// of another node.
    fn may_create_cycle(&self) -> bool {
        self.trail.iter().any(|(id, _)| self.is_part(*id))
    }

    /// Adds two types, unifies them, and resolves the result. Unless this binds a variable, the set does not grow.
    ///
    /// ```
    /// use smf_core::types::{Type, Unifier, Variables};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut unifier, mut variables) = (Unifier::default(), Variables::new());
    /// let [one, other] = [Type::parse("[?T]")?, Type::parse("[i64]")?];
    /// assert_eq!(unifier.unify_types(&one, &other, &mut variables)?, other);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`UnifyError`].
    pub fn unify_types(
        &mut self,
        one: &Type,
        other: &Type,
        variables: &mut Variables,
    ) -> Result<Type, UnifyError> {
        let (nodes, parts, known) = (self.nodes.len(), self.parts.len(), variables.len());
        self.has_bound = false;
        let unified = self.add_and_unify(one, other, variables);
        let resolved = unified.and_then(|id| self.resolve(id));
        if !self.has_bound {
            // The classes that were merged are of equal types. Older nodes may still count as parts, which only makes
            // occurs checks more frequent.
            self.undo();
            self.nodes.truncate(nodes);
            self.parts.truncate(parts);
            if variables.len() > known {
                variables.retain(|_, id| id.0 < nodes);
            }
        }
        resolved
    }

    fn add_and_unify(
        &mut self,
        one: &Type,
        other: &Type,
        variables: &mut Variables,
    ) -> Result<TypeId, UnifyError> {
        self.trail.clear();
        let one = self.add(one, variables)?;
        let other = self.add(other, variables)?;
        self.unify(one, other)?;
        Ok(one)
    }

    /// Unifies two types.
    ///
    /// # Errors
    /// [`UnifyError`]; the state is then unchanged.
    pub fn unify(&mut self, left: TypeId, right: TypeId) -> Result<(), UnifyError> {
        self.trail.clear();
        let differ = self.merge_all(left, right);
        let check = differ.is_ok() && self.may_create_cycle();
        let cycle = if check { self.find_cycle(left) } else { None };
        let error = match (differ, cycle) {
            (Ok(()), None) => return Ok(()),
            (Ok(()), Some(variable)) => {
                self.undo();
                self.infinite(variable, left, right)
            }
            (Err((left_part, right_part)), _) => {
                self.undo();
                let resolved =
                    [left, right, left_part, right_part].map(|id| self.resolve_or_ellipsis(id));
                let [left, right, left_part, right_part] = resolved;
                UnifyError::Conflict(Conflict { left, right, left_part, right_part })
            }
        };
        Err(error)
    }

    /// Takes back the last unification.
    fn undo(&mut self) {
        self.has_bound = false;
        while let Some((id, class)) = self.trail.pop() {
            if let Some(node) = self.nodes.get_mut(id.0) {
                node.class = class;
            }
        }
    }

    /// Merges the classes of two types and of their parts. The error is two parts that differ.
    fn merge_all(&mut self, left: TypeId, right: TypeId) -> Result<(), (TypeId, TypeId)> {
        self.has_bound = false;
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
                (_, Head::Variable(_)) => {
                    self.has_bound = true;
                    self.merge(one, other, left);
                }
                (Head::Variable(_), _) => {
                    self.has_bound = true;
                    self.merge(one, other, right);
                }
                (a, b) if a == b && self.parts(left).len() == self.parts(right).len() => {
                    self.merge(one, other, left);
                    let parts = self.parts(left).iter().zip(self.parts(right));
                    // So that the first part is popped first.
                    pairs.extend(parts.rev().map(|(left, right)| (*left, *right)));
                }
                _ => return Err((left, right)),
            }
        }
        Ok(())
    }

    /// The root of a class reachable from `start` that contains itself. Visits each class once.
    fn find_cycle(&mut self, start: TypeId) -> Option<TypeId> {
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
            let mark = self.marks.get_mut(root.0)?;
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

    /// The error for a cycle through the class of `cycle`, after undo.
    fn infinite(&self, cycle: TypeId, left: TypeId, right: TypeId) -> UnifyError {
        let name = |id| match self.node(self.schema(id)).map(|node| &node.head) {
            Some(Head::Variable(name)) => Some(name.clone()),
            _ => None,
        };
        let (variable, ty) = match (name(left), name(right)) {
            (Some(variable), _) => (Some(variable), right),
            (None, Some(variable)) => (Some(variable), left),
            (None, None) => (name(cycle), right),
        };
        UnifyError::Infinite {
            variable: variable.unwrap_or_default(),
            ty: self.resolve_or_ellipsis(ty),
        }
    }

    /// The resolved type, or `?...` if it is too large: for error messages.
    fn resolve_or_ellipsis(&self, id: TypeId) -> Type {
        self.resolve(id).unwrap_or_else(|_| Type::Variable("...".into()))
    }

    /// The type with all known variables substituted. The remaining variables are undetermined.
    ///
    /// # Errors
    /// [`UnifyError::TooLarge`]: a few variables can describe a type of exponential size.
    pub fn resolve(&self, id: TypeId) -> Result<Type, UnifyError> {
        let mut left = MAX_NODES;
        self.check_size(id, 1, &mut left)?;
        self.resolve_part(id)
    }

    /// Checks the number of nodes and levels before anything is allocated.
    fn check_size(&self, id: TypeId, depth: usize, left: &mut usize) -> Result<(), UnifyError> {
        *left = left.checked_sub(1).filter(|_| depth <= MAX_DEPTH).ok_or(UnifyError::TooLarge)?;
        let parts = self.parts(self.schema(id)).iter();
        parts.copied().try_for_each(|part| self.check_size(part, depth + 1, left))
    }

    /// Resolves a type whose size has been checked.
    fn resolve_part(&self, id: TypeId) -> Result<Type, UnifyError> {
        let schema = self.schema(id);
        let node = self.node(schema).ok_or(UnifyError::TooLarge)?;
        let parts = self.parts(schema).iter().map(|part| self.resolve_part(*part));
        let mut parts: Vec<_> = parts.collect::<Result<_, _>>()?;
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

    use super::super::testing::Random;
    use super::*;
    use crate::testing::some;

    type Substitution = BTreeMap<Box<str>, Type>;

    /// The oracle: Robinson's algorithm by substitution.
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
        let (mut unifier, mut variables) = (Unifier::default(), Variables::new());
        let [left, right] = [left, right]
            .map(|text| unifier.add(&Type::parse(text).unwrap(), &mut variables).unwrap());
        unifier.unify(left, right).map_err(|error| error.to_string())?;
        assert_eq!(unifier.resolve(left), unifier.resolve(right));
        Ok(unifier.resolve(left).unwrap().to_string())
    }

    #[test]
    fn set_grows_only_where_a_variable_is_bound() {
        let (mut unifier, mut variables) = (Unifier::default(), Variables::new());
        let mut sizes = vec![];
        for (left, right, both, grows) in [
            ("?T", "(i64, [?U])", Some("(i64, [?U])"), true),
            // The same again, also with a new variable.
            ("?T", "(i64, [?U])", Some("(i64, [?U])"), false),
            ("(i64, bool)", "(i64, bool)", Some("(i64, bool)"), false),
            ("[?V]", "[?V]", Some("[?V]"), false),
            // Failures, after variables were bound.
            ("(?U, ?V, i64)", "(bool, i8, f64)", None, false),
            ("?U", "[?T]", None, false),
            ("?V", "[?V]", None, false),
            ("?U", "bool", Some("bool"), true),
            ("?T", "(i64, [bool])", Some("(i64, [bool])"), false),
            ("?T", "(i64, [i8])", None, false),
            ("(?V, ?W)", "(?W, ?U)", Some("(bool, bool)"), true),
            ("?V", "i8", None, false),
        ] {
            let before = (unifier.nodes.len(), unifier.parts.len(), variables.len());
            let [one, other] = [left, right].map(|text| Type::parse(text).unwrap());
            let found = unifier.unify_types(&one, &other, &mut variables);
            assert_eq!(found.ok().map(|ty| ty.to_string()).as_deref(), both, "{left} {right}");
            let after = (unifier.nodes.len(), unifier.parts.len(), variables.len());
            assert_eq!(before != after, grows, "{left} {right}");
            sizes.push(after);
        }
        assert!(sizes.is_sorted() && variables.values().all(|id| id.0 < unifier.nodes.len()));
    }

    #[test]
    fn unifiable_types_unify() {
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
    fn different_types_are_refused_with_both_sides() {
        for (left, right, why) in [
            ("i64", "f64", "`i64` and `f64` are different types"),
            (
                "Vec<i64>",
                "Vec<f64>",
                "`Vec<i64>` and `Vec<f64>` are different types: `i64` differs from `f64`",
            ),
            (
                "Pair<?T, ?T>",
                "Pair<i64, bool>",
                "`Pair<?T, ?T>` and `Pair<i64, bool>` are different types: `?T` differs from `bool`",
            ),
            ("?T", "Vec<?T>", "`?T` would contain itself: `Vec<?T>`"),
            ("(?A, ?B)", "([?B], [?A])", "`?B` would contain itself: `([?B], [?A])`"),
            ("f32x4", "f32x8", "`f32x4` and `f32x8` are different types"),
            ("(i8, i8)", "(i8)", "`(i8, i8)` and `(i8)` are different types"),
        ] {
            let found = unify(left, right).unwrap_err();
            assert!(found.starts_with(why.split(" `?T` differs").next().unwrap()), "{found}");
        }
    }

    #[test]
    fn agrees_with_unification_by_substitution() {
        let mut random = Random(5);
        let (mut unified, mut rounds) = (0, 0);
        for _ in some(0..40_000, 20) {
            rounds += 1;
            let types = [random.ty(3, true), random.ty(3, true)];
            // A common shape makes unification more likely.
            let types = if random.below(2) == 0 {
                types.map(|ty| Type::Tuple(vec![Type::Variable("T".into()), ty]))
            } else {
                types
            };
            let (mut unifier, mut variables) = (Unifier::default(), Variables::new());
            let [left, right] = [0, 1].map(|i| unifier.add(&types[i], &mut variables).unwrap());
            let before = format!("{:?}", unifier.nodes);
            match (unifier.unify(left, right), naive(&types[0], &types[1])) {
                (Ok(()), Some(known)) => {
                    unified += 1;
                    let found = unifier.resolve(left).unwrap();
                    assert_eq!(Ok(&found), unifier.resolve(right).as_ref());
                    // The representative of two variables is unspecified.
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

    /// (x1, x2, ...) with ((x0, x0), (x1, x1), ...): a type of 2^n nodes, unified in linear time.
    #[test]
    fn exponential_type_unifies_in_linear_time_and_resolve_refuses_it() {
        let (mut unifier, mut variables) = (Unifier::default(), Variables::new());
        let variable = |i: usize| Type::Variable(format!("x{i}").into());
        let count = if cfg!(miri) { 40 } else { 400 };
        let left: Vec<_> = (1..count).map(variable).collect();
        let right: Vec<_> =
            (0..count - 1).map(|i| Type::Tuple(vec![variable(i), variable(i)])).collect();
        let mut last = None;
        for (left, right) in left.iter().zip(&right) {
            let [left, right] = [left, right].map(|ty| unifier.add(ty, &mut variables).unwrap());
            unifier.unify(left, right).unwrap();
            last = Some(left);
        }
        assert_eq!(unifier.resolve(last.unwrap()), Err(UnifyError::TooLarge));
        let first = variables["x0"];
        assert!(matches!(unifier.unify(first, last.unwrap()), Err(UnifyError::Infinite { .. })));
    }

    #[test]
    fn long_chain_of_variables_is_one_class() {
        let mut unifier = Unifier::default();
        let all: Vec<_> = (0..if cfg!(miri) { 100 } else { 10_000 })
            .map(|i| unifier.variable(&format!("v{i}")))
            .collect();
        for pair in all.windows(2) {
            unifier.unify(pair[0], pair[1]).unwrap();
        }
        let known = unifier.add(&Type::I64, &mut Variables::new()).unwrap();
        unifier.unify(all[all.len() / 2], known).unwrap();
        assert!(all.iter().all(|id| unifier.resolve(*id) == Ok(Type::I64)));
        assert!(unifier.nodes.iter().all(|node| node.class.rank < 16));
    }

    /// A quadratic search of names or of earlier equalities would not finish.
    #[test]
    fn unification_time_is_nearly_linear_in_variables() {
        let count = if cfg!(miri) { 100 } else { 400_000 };
        let variable = |i: usize| Type::Variable(format!("T{i}").into());
        let vec_of = |ty: Type| Type::Named { name: "Vec".into(), args: vec![ty] };
        // Each variable with a type that contains the previous one, with one that contains the next one, with
        // the next one, and with a constant.
        let shapes: [&dyn Fn(usize) -> [Type; 2]; 4] = [
            &|i| [variable(i + 1), vec_of(variable(i))],
            &|i| [vec_of(variable(i + 1)), variable(i)],
            &|i| [variable(i), variable(i + 1)],
            &|i| [variable(i), Type::I64],
        ];
        for (number, shape) in shapes.iter().enumerate() {
            let (mut unifier, mut variables) = (Unifier::default(), Variables::new());
            for i in 0..count {
                let types = shape(i);
                let [left, right] =
                    [0, 1].map(|side| unifier.add(&types[side], &mut variables).unwrap());
                unifier.unify(left, right).unwrap();
            }
            assert!(unifier.entered <= 8 * count as u64, "{number}: {}", unifier.entered);
            assert!(variables.len() >= count);
        }
    }

    /// Cycles through classes that were parts before and that become parts later.
    #[test]
    fn omitted_occurs_check_misses_no_cycle() {
        let mut random = Random(77);
        let (mut cycles, mut sound) = (0, 0);
        for _ in some(0..4_000, 20) {
            let (mut unifier, mut variables) = (Unifier::default(), Variables::new());
            let variable =
                |random: &mut Random| Type::Variable(format!("v{}", random.below(6)).into());
            for _ in 0..8 {
                let left = variable(&mut random);
                let right = match random.below(3) {
                    0 => variable(&mut random),
                    1 => Type::Array(Box::new(variable(&mut random))),
                    _ => Type::Tuple(vec![variable(&mut random), variable(&mut random)]),
                };
                let [left, right] =
                    [left, right].map(|ty| unifier.add(&ty, &mut variables).unwrap());
                let unified = unifier.unify(left, right);
                cycles += u32::from(matches!(unified, Err(UnifyError::Infinite { .. })));
                sound += u32::from(unified.is_ok());
                // All accepted types are finite.
                let all: Vec<_> = variables.values().copied().collect();
                assert!(all.iter().all(|id| unifier.find_cycle(*id).is_none()));
            }
        }
        assert!(cycles > 100 && sound > 100, "{cycles} {sound}");
    }
}
