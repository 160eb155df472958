//! Random programs in Simple: structs, enums with payload, generic functions, arrays, views, loops, `match` and printing.
//!
//! A program is drawn from any bytes, accepted by the front end, and ends: functions call earlier ones only, and loops
//! are bounded. Divisions, indices and assertions may trap. Printing calls the functions of the [host](super::host).

use std::fmt::Write;

use smf_core::source::{Compiled, Mode, SourceFile, compile};

use super::draw::Case;
use super::program::Program;

/// The arguments with which a program is called.
const ARGUMENTS: [[i64; 2]; 4] = [[0, 0], [1, -1], [7, 100], [i64::MIN, i64::MAX]];

/// The statements of a program, about.
const STATEMENTS: u32 = 60;

/// What every program begins with.
const PRELUDE: &str = "\
struct Pair:
    a: i64
    b: i32
    c: f64
    d: u8

struct Box<T>:
    item: T
    count: i64

enum Shape:
    Empty
    One(i64)
    Two(x: i32, y: u8)

fn pick<T>(c: bool, a: T, b: T) -> T: if c: a else: b

fn unbox<T>(b: Box<T>) -> T: b.item

fn fill(mut v: [i64], x: i64) -> i64:
    var sum = 0
    for i in 0..v.len:
        v[i] = v[i] xor x
        sum += v[i]
    sum

fn size(s: Shape) -> i64:
    match s:
        case Shape.One(n) if n > 3: n
        case Shape.One(n): n * 2
        case Shape.Two(x, y): x as i64 + y as i64
        case _: -1

";

/// A scalar type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scalar {
    I64,
    I32,
    U8,
    U64,
    F64,
    Bool,
}

use Scalar::{Bool, F64, I32, I64, U8, U64};

impl Scalar {
    const ALL: [Self; 6] = [I64, I32, U8, U64, F64, Bool];

    fn name(self) -> &'static str {
        match self {
            I64 => "i64",
            I32 => "i32",
            U8 => "u8",
            U64 => "u64",
            F64 => "f64",
            Bool => "bool",
        }
    }
}

/// A local of a scalar type.
#[derive(Clone)]
struct Local {
    name: String,
    ty: Scalar,
    is_mutable: bool,
}

/// The program so far.
struct Writer<'d> {
    data: std::slice::Iter<'d, u8>,
    text: String,
    functions: Vec<(Vec<Scalar>, Scalar)>,
    locals: Vec<Local>,
    result: Scalar,
    names: u32,
    left: u32,
    indent: usize,
    loops: usize,
}

/// The text of the program that `data` draws.
pub fn draw_source(data: &[u8]) -> String {
    let mut writer = Writer {
        data: data.iter(),
        text: PRELUDE.to_owned(),
        functions: Vec::new(),
        locals: Vec::new(),
        result: I64,
        names: 0,
        left: STATEMENTS,
        indent: 1,
        loops: 0,
    };
    for _ in 0..1 + writer.below(3) {
        let params = (0..writer.below(4)).map(|_| writer.scalar()).collect();
        let result = writer.scalar();
        writer.function(params, result, false);
    }
    writer.function(vec![I64, I64], I64, true);
    writer.text
}

/// The program in Simple that `data` draws, with arguments.
///
/// # Panics
/// If the front end refuses it.
pub fn draw_case(data: &[u8]) -> Case {
    let text = draw_source(data);
    let file = SourceFile { name: "drawn.spl", module: "drawn", text: &text };
    let Compiled { unit, diagnostics, .. } = compile(&[file], Mode::Compile).unwrap();
    let shown: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    let unit = unit.unwrap_or_else(|| panic!("{text}\n{}", shown.join("\n")));
    let entry = unit.find("start").unwrap();
    let functions = unit.functions.into_iter().map(|function| function.ir().to_vec()).collect();
    let program = Program::with_entry(functions, entry);
    let arguments = ARGUMENTS.map(|both| both.map(i64::cast_unsigned).to_vec()).to_vec();
    Case { program, arguments, seed: 1 }
}

impl Writer<'_> {
    /// A number below `limit`; 0 when no bytes are left.
    fn below(&mut self, limit: usize) -> usize {
        self.data.next().map_or(0, |&byte| usize::from(byte) % limit)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn scalar(&mut self) -> Scalar {
        self.one_of(&Scalar::ALL)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("v{}", self.names)
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{}{line}", "    ".repeat(self.indent)).unwrap();
    }

    fn function(&mut self, params: Vec<Scalar>, result: Scalar, is_entry: bool) {
        (self.locals, self.result) = (Vec::new(), result);
        let mut list = Vec::new();
        for &ty in &params {
            let name = self.name();
            list.push(format!("{name}: {}", ty.name()));
            self.locals.push(Local { name, ty, is_mutable: false });
        }
        let name = match is_entry {
            true => "start".to_owned(),
            false => format!("f{}", self.functions.len()),
        };
        writeln!(self.text, "fn {name}({}) -> {}:", list.join(", "), result.name()).unwrap();
        self.line("var p = Pair(a: 1, b: 2, c: 0.5, d: 3)");
        self.line("var xs: [i64; 4] = [5, -1, 9, 2]");
        self.line("var s = Shape.Empty");
        for _ in 0..2 + self.below(5) {
            self.statement();
        }
        let value = self.expr(result, 2);
        self.line(&value);
        self.text.push('\n');
        self.functions.push((params, result));
    }

    /// Statements in a block of their own.
    fn block(&mut self) {
        let visible = self.locals.len();
        self.indent += 1;
        for _ in 0..1 + self.below(2) {
            self.statement();
        }
        self.indent -= 1;
        self.locals.truncate(visible);
    }

    fn statement(&mut self) {
        self.left = self.left.saturating_sub(1);
        let kinds = if self.left == 0 || self.indent > 4 { 7 } else { 14 };
        match self.below(kinds) {
            0 => self.declare(),
            1 => self.assign(),
            2 => self.print(),
            3 => {
                let (index, value) = (self.index(), self.expr(I64, 2));
                let operator = self.one_of(&["=", "+=", "-=", "*="]);
                self.line(&format!("xs[{index}] {operator} {value}"));
            }
            4 => self.store_field(),
            5 => {
                let shape = self.shape();
                self.line(&format!("s = {shape}"));
            }
            6 => {
                let value = self.expr(I64, 1);
                let name = self.name();
                self.line(&format!("val {name} = fill(xs, {value})"));
                self.locals.push(Local { name, ty: I64, is_mutable: false });
            }
            7 | 8 => self.condition(),
            9 => self.for_loop(),
            10 => self.while_loop(),
            11 => self.match_number(),
            12 => self.match_shape(),
            _ => self.leave(),
        }
    }

    fn declare(&mut self) {
        let (ty, is_mutable) = (self.scalar(), self.below(3) != 0);
        let value = self.expr(ty, 3);
        let (name, word) = (self.name(), if is_mutable { "var" } else { "val" });
        self.line(&format!("{word} {name}: {} = {value}", ty.name()));
        self.locals.push(Local { name, ty, is_mutable });
    }

    fn assign(&mut self) {
        let mutable: Vec<Local> =
            self.locals.iter().filter(|local| local.is_mutable).cloned().collect();
        if mutable.is_empty() {
            return self.declare();
        }
        let Local { name, ty, .. } = mutable[self.below(mutable.len())].clone();
        let operators: &[&str] = if ty == Bool { &["="] } else { &["=", "+=", "-=", "*="] };
        let operator = self.one_of(operators);
        let value = self.expr(ty, 3);
        self.line(&format!("{name} {operator} {value}"));
    }

    fn print(&mut self) {
        let (one, two) = (self.scalar(), self.scalar());
        let (one, two) = (self.expr(one, 2), self.expr(two, 1));
        self.line(&format!("print {one}, {two}"));
    }

    fn store_field(&mut self) {
        let (field, ty) = self.one_of(&[("a", I64), ("b", I32), ("c", F64), ("d", U8)]);
        let value = self.expr(ty, 2);
        let operator = self.one_of(&["=", "+=", "*="]);
        self.line(&format!("p.{field} {operator} {value}"));
    }

    fn condition(&mut self) {
        let condition = self.expr(Bool, 2);
        self.line(&format!("if {condition}:"));
        self.block();
        if self.below(3) == 1 {
            let condition = self.expr(Bool, 1);
            self.line(&format!("elif {condition}:"));
            self.block();
        }
        if self.below(2) == 1 {
            self.line("else:");
            self.block();
        }
    }

    fn for_loop(&mut self) {
        let (name, label) = (self.name(), self.loops);
        let (first, last) = (self.below(3), self.below(6));
        let range = self.one_of(&["..", "..="]);
        self.line(&format!("'l{label}: for {name} in {first}{range}{last}:"));
        let visible = self.locals.len();
        self.locals.push(Local { name, ty: I64, is_mutable: false });
        self.loops += 1;
        self.block();
        self.loops -= 1;
        self.locals.truncate(visible);
    }

    fn while_loop(&mut self) {
        let (name, label) = (self.name(), self.loops);
        let condition = self.expr(Bool, 1);
        self.line(&format!("var {name} = 4"));
        self.line(&format!("'l{label}: while {name} > 0 and {condition}:"));
        self.indent += 1;
        self.line(&format!("{name} -= 1"));
        self.indent -= 1;
        self.loops += 1;
        self.block();
        self.loops -= 1;
    }

    fn match_number(&mut self) {
        let value = self.expr(I64, 2);
        let ty = self.scalar();
        let name = self.name();
        self.line(&format!("val {name} = match {value}:"));
        let (guard, arms) = (self.expr(Bool, 1), [(); 4].map(|()| self.expr(ty, 1)));
        let low = self.below(5);
        let patterns = [
            format!("{low} | 7"),
            format!("{}..={}", low + 1, low + 4),
            format!("k if {guard} and k != 0"),
            "_".to_owned(),
        ];
        self.indent += 1;
        for (pattern, arm) in patterns.iter().zip(arms) {
            self.line(&format!("case {pattern}: {arm}"));
        }
        self.indent -= 1;
        self.locals.push(Local { name, ty, is_mutable: false });
    }

    fn match_shape(&mut self) {
        let shape = self.shape();
        self.line(&format!("match {shape}:"));
        self.indent += 1;
        for (variant, others, ty) in [("One", "", I64), ("Two", ", _", I32)] {
            let name = self.name();
            self.line(&format!("case Shape.{variant}({name}{others}):"));
            let visible = self.locals.len();
            self.locals.push(Local { name, ty, is_mutable: false });
            self.block();
            self.locals.truncate(visible);
        }
        self.line("case _:");
        self.block();
        self.indent -= 1;
    }

    /// Leaves a loop or the function, or asserts.
    fn leave(&mut self) {
        // Not a constant, so that what follows is reachable.
        let condition = format!("({} and p.a != 3)", self.expr(Bool, 1));
        let label = self.loops.checked_sub(1).map(|last| self.below(last + 1));
        match (self.below(4), label) {
            (0, Some(label)) => self.line(&format!("if {condition}: break 'l{label}")),
            (1, Some(label)) => self.line(&format!("if {condition}: continue 'l{label}")),
            (2, _) => {
                let value = self.expr(self.result, 1);
                self.line(&format!("if {condition}: return {value}"));
            }
            _ => self.line(&format!("assert {condition} or p.a != 3, \"drawn\"")),
        }
    }

    fn shape(&mut self) -> String {
        match self.below(4) {
            0 => "s".to_owned(),
            1 => format!("Shape.One({})", self.expr(I64, 1)),
            2 => format!("Shape.Two(x: {}, y: {})", self.expr(I32, 1), self.expr(U8, 1)),
            _ => "Shape.Empty".to_owned(),
        }
    }

    /// An index of the array, which is rarely out of bounds.
    fn index(&mut self) -> String {
        match self.below(8) {
            7 => format!("(({} + p.a) % 6)", self.leaf(I64)),
            6 => "-1".to_owned(),
            5 => format!("({} & 3)", self.leaf(U64)),
            _ => format!("({} & 3)", self.expr(I64, 1)),
        }
    }

    fn literal(&mut self, ty: Scalar) -> String {
        let number = self.below(256);
        match ty {
            I64 if number < 8 => number.to_string(),
            I64 if number < 16 => "0x7fff_ffff_ffff_ffff".to_owned(),
            I64 => format!("({})", 128 - i64::try_from(number).unwrap()),
            I32 if number == 255 => "0x7fff_ffffi32".to_owned(),
            I32 if number > 128 => format!("(-{number}i32)"),
            I32 | U8 | U64 => format!("{number}{}", ty.name()),
            F64 => format!("{}.{}", number / 4, number % 4),
            Bool => ["true", "false"][number % 2].to_owned(),
        }
    }

    /// A leaf: a literal, a local, a field or an element.
    fn leaf(&mut self, ty: Scalar) -> String {
        let names: Vec<String> = self
            .locals
            .iter()
            .filter(|local| local.ty == ty)
            .map(|local| local.name.clone())
            .collect();
        let kind = self.below(4);
        match (kind, ty) {
            (0 | 1, _) if !names.is_empty() => names[self.below(names.len())].clone(),
            (2, I64) => "p.a".to_owned(),
            (2, I32) => "p.b".to_owned(),
            (2, F64) => "p.c".to_owned(),
            (2, U8) => "p.d".to_owned(),
            (3, I64) => format!("xs[{}]", self.below(4)),
            _ => self.literal(ty),
        }
    }

    fn expr(&mut self, ty: Scalar, depth: u32) -> String {
        if depth == 0 {
            return self.leaf(ty);
        }
        let depth = depth - 1;
        match self.below(12) {
            0 | 1 => self.leaf(ty),
            2 => {
                let from = self.scalar();
                format!("({} as {})", self.expr(from, depth), ty.name())
            }
            3 => {
                let (condition, one) = (self.expr(Bool, depth), self.expr(ty, depth));
                format!("(if {condition}: {one} else: {})", self.expr(ty, depth))
            }
            4 => {
                let (condition, one) = (self.expr(Bool, depth), self.expr(ty, depth));
                let written = ["".to_owned(), format!("<{}>", ty.name())];
                let written = &written[self.below(2)];
                format!("pick{written}({condition}, {one}, {})", self.expr(ty, depth))
            }
            5 => format!("unbox(Box<{}>(item: {}, count: 1))", ty.name(), self.expr(ty, depth)),
            6 => self.call(ty, depth),
            _ => self.operation(ty, depth),
        }
    }

    fn call(&mut self, ty: Scalar, depth: u32) -> String {
        let known: Vec<usize> =
            (0..self.functions.len()).filter(|&index| self.functions[index].1 == ty).collect();
        if known.is_empty() {
            return match ty {
                I64 => format!("size({})", self.shape()),
                _ => self.operation(ty, depth),
            };
        }
        let index = known[self.below(known.len())];
        let params = self.functions[index].0.clone();
        let args: Vec<String> = params.into_iter().map(|ty| self.expr(ty, depth.min(1))).collect();
        format!("f{index}({})", args.join(", "))
    }

    fn operation(&mut self, ty: Scalar, depth: u32) -> String {
        match ty {
            Bool => self.test(depth),
            F64 => {
                let operator = self.one_of(&["+", "-", "*", "/"]);
                format!("({} {operator} {})", self.expr(F64, depth), self.expr(F64, depth))
            }
            _ => {
                let all = ["+", "-", "*", "&", "|", "xor", "<<", ">>", "/", "%"];
                let operator = self.one_of(&all);
                let left = self.expr(ty, depth);
                let right = match operator {
                    // A divisor is rarely 0.
                    "/" | "%" if self.below(8) != 7 => format!("({} | 1)", self.leaf(ty)),
                    _ => self.expr(ty, depth),
                };
                format!("({left} {operator} {right})")
            }
        }
    }

    fn test(&mut self, depth: u32) -> String {
        let ty = self.one_of(&[I64, I32, U8, U64, F64]);
        let operator = self.one_of(&["<", "<=", ">", ">=", "==", "!="]);
        match self.below(5) {
            0 => format!("({} and {})", self.expr(Bool, depth), self.expr(Bool, depth)),
            1 => format!("({} or {})", self.expr(Bool, depth), self.expr(Bool, depth)),
            2 => format!("(not {})", self.leaf(Bool)),
            3 => {
                let [low, value, high] = [(); 3].map(|()| self.expr(ty, depth.min(1)));
                format!("({low} < {value} <= {high})")
            }
            _ => format!("({} {operator} {})", self.expr(ty, depth), self.expr(ty, depth)),
        }
    }
}
