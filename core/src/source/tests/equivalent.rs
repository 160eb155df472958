//! Random programs in three spellings that mean the same: generic functions whose type arguments are inferred, generic
//! functions whose type arguments are written, and functions that are not generic.

use std::format;
use std::string::{String, ToString};

use super::random::{Random, SEEDS};
use super::run::output;

/// `{P}` are type parameters, `{T}` and `{V}` the types that they stand for.
const DECLARATIONS: &str = "\
struct W:
    cells: [i64; 3]
    x: i64
impl W:
    me store{P}(mut a: [{T}], i: i64, v: {T}) -> i64:
        self.x += 1
        a[i] = v
        self.x % 3
    fn read{P}(a: [{T}], v: {T}) -> {T}: if self.x > 2: a[1] else: v
fn put{P}(mut a: [{T}], i: i64, v: {T}):
    a[i] = v
fn swap{P}(mut a: [{T}], i: i64, j: i64):
    val v = a[i]
    a[i] = a[j]
    a[j] = v
fn blend{P}(mut a: [{T}], b: [{T}], i: i64) -> {T}:
    a[i] = b[0]
    b[i]
fn at{P}(a: [{T}], i: i64) -> {T}: a[i]
fn pick{P}(c: bool, a: {T}, b: {T}) -> {T}: if c: a else: b
fn same{P}(a: {V}, n: i64) -> {V}: a
fn bump(mut a: [i64]) -> i64:
    a[0] += 1
    a[0] % 3
";

const SPELLINGS: [[(&str, &str); 5]; 3] = [
    [("{P}", "<T>"), ("{T}", "T"), ("{V}", "T"), ("{A}", ""), ("{B}", "")],
    [("{P}", "<T>"), ("{T}", "T"), ("{V}", "T"), ("{A}", "<i64>"), ("{B}", "<[i64; 3]>")],
    [("{P}", ""), ("{T}", "i64"), ("{V}", "[i64; 3]"), ("{A}", ""), ("{B}", "")],
];

impl Random {
    fn array(&mut self, depth: usize) -> String {
        match self.below(6) {
            0 if depth > 0 => format!("h[{}]", self.index(depth - 1)),
            1 => "w.cells".to_string(),
            2 => "t.1".to_string(),
            _ => self.pick(&["a", "b"]).to_string(),
        }
    }

    /// An array as an argument.
    fn argument(&mut self, depth: usize) -> String {
        if depth == 0 || self.below(4) > 0 {
            return self.array(depth);
        }
        let (one, two) = (self.argument(depth - 1), self.argument(depth - 1));
        match self.below(2) {
            0 => format!("(if {} > 3: {one} else: {two})", self.value(depth - 1)),
            _ => format!("(if {} == 1: {one} elif x > 2: b else: {two})", self.value(depth - 1)),
        }
    }

    fn index(&mut self, depth: usize) -> String {
        match self.below(3) {
            0 => self.below(3).to_string(),
            _ => format!("({}) % 3", self.value(depth)),
        }
    }

    /// A number that is not negative.
    fn value(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.below(4) {
                0 => self.below(9).to_string(),
                1 => format!("{}[{}]", self.array(0), self.below(3)),
                _ => self.pick(&["x", "w.x", "t.0", "h[1][2]"]).to_string(),
            };
        }
        let (one, two) = (self.value(depth - 1), self.value(depth - 1));
        let (array, other) = (self.argument(depth - 1), self.argument(depth - 1));
        match self.below(10) {
            0 => format!("bump({array})"),
            1 => format!("at{{A}}({array}, {})", self.index(depth - 1)),
            2 => format!("pick{{A}}({one} > {two}, {two}, {one})"),
            3 => format!("blend{{A}}({array}, {other}, {})", self.index(depth - 1)),
            4 => format!("(if {one} > 2: {two} else: {one})"),
            5 => format!("w.store({array}, {}, {one})", self.index(depth - 1)),
            6 => format!("w.read({array}, {one})"),
            7 => format!("same{{B}}({array}, {one})[{}]", self.below(3)),
            8 => format!("({one} + {two}) % 50"),
            _ => one,
        }
    }

    fn statement(&mut self) -> String {
        let depth = 1 + self.below(2);
        let (array, value) = (self.array(depth), self.value(depth));
        let argument = self.argument(depth);
        match self.below(7) {
            0 => format!("put{{A}}({argument}, {}, {value})", self.index(depth)),
            1 => format!("swap{{A}}({argument}, {}, {})", self.index(depth), self.index(depth)),
            2 => format!("put{{A}}(v: {value}, a: {argument}, i: {})", self.index(depth)),
            3 => format!("x = {value}"),
            4 => format!("{array} = same{{B}}({}, {value})", self.argument(1)),
            5 => format!("{array} = {}", self.array(1)),
            _ => format!("t = ({value}, {array})"),
        }
    }
}

fn program(random: &mut Random) -> String {
    let mut body = String::from(
        "fn main():\n    var a = [1, 2, 3]\n    var b = [4, 5, 6]\n    var h = [[7, 8, 9], [1, 3, 5], [2, 4, 6]]\n    \
         var w = W([3, 2, 1], 1)\n    var t = (2, [6, 6, 6])\n    var x = 1\n",
    );
    for _ in 0..2 + random.below(6) {
        body += &format!("    {}\n", random.statement());
    }
    body += "    for i in 0..3: print \"{a[i]} {b[i]} {h[0][i]} {h[1][i]} {h[2][i]} {w.cells[i]} {t.1[i]}\"\n    \
             print \"{x} {w.x} {t.0}\"\n";
    format!("{DECLARATIONS}{body}")
}

#[test]
fn generic_functions_do_what_the_same_functions_for_one_type_do() {
    for seed in SEEDS {
        let text = program(&mut Random(seed));
        let spell = |spelling: [(&str, &str); 5]| {
            spelling.iter().fold(text.clone(), |text, (mark, by)| text.replace(mark, by))
        };
        let [inferred, written, plain] = SPELLINGS.map(spell);
        let expected = output(&plain);
        assert_eq!(output(&inferred), expected, "seed {seed}\n{inferred}");
        assert_eq!(output(&written), expected, "seed {seed}\n{written}");
    }
}
