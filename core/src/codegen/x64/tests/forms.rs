//! Every form of every instruction with operands of every class, read back by a decoder.

use std::any::TypeId;
use std::vec::Vec;

use iced_x86::Mnemonic;

use super::super::*;
use super::reader::{Meant, Place, Random, general, read, sse};
use crate::testing::scale;

/// The number of trials of each form: exhaustive, sampled.
const TIMES: [usize; 2] = [7000, 600];

const ALU: [Mnemonic; 6] = {
    use Mnemonic::*;
    [Add, Or, And, Sub, Xor, Cmp]
};
const UNARY: [Mnemonic; 7] = {
    use Mnemonic::*;
    [Not, Neg, Mul, Imul, Div, Idiv, Dec]
};
const SHIFT: [Mnemonic; 4] = {
    use Mnemonic::*;
    [Rol, Shl, Shr, Sar]
};
const SCALAR: [[Mnemonic; 2]; 7] = {
    use Mnemonic::*;
    [
        [Sqrtss, Sqrtsd],
        [Addss, Addsd],
        [Mulss, Mulsd],
        [Subss, Subsd],
        [Minss, Minsd],
        [Divss, Divsd],
        [Maxss, Maxsd],
    ]
};
const BITWISE: [[Mnemonic; 2]; 5] = {
    use Mnemonic::*;
    [[Ucomiss, Ucomisd], [Comiss, Comisd], [Andps, Andpd], [Orps, Orpd], [Xorps, Xorpd]]
};
const SET: [Mnemonic; 16] = {
    use Mnemonic::*;
    [
        Seto, Setno, Setb, Setae, Sete, Setne, Setbe, Seta, Sets, Setns, Setp, Setnp, Setl, Setge,
        Setle, Setg,
    ]
};
const MOVE: [Mnemonic; 16] = {
    use Mnemonic::*;
    [
        Cmovo, Cmovno, Cmovb, Cmovae, Cmove, Cmovne, Cmovbe, Cmova, Cmovs, Cmovns, Cmovp, Cmovnp,
        Cmovl, Cmovge, Cmovle, Cmovg,
    ]
};
const JUMP: [Mnemonic; 16] = {
    use Mnemonic::*;
    [Jo, Jno, Jb, Jae, Je, Jne, Jbe, Ja, Js, Jns, Jp, Jnp, Jl, Jge, Jle, Jg]
};
const FLOATS: [Float; 2] = [Float::F32, Float::F64];

/// The address of the first instruction of a trial, far enough from 0 that no distance leads below.
const ADDRESS: u64 = 1 << 40;

/// Encodes one instruction at a time.
struct Trial {
    random: Random,
    asm: Assembler,
    /// Bound to the start of the code.
    start: Label,
    mnemonic: Mnemonic,
    operands: Vec<Meant>,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let mut asm = Assembler::new();
        let start = asm.label();
        asm.bind(start);
        let mnemonic = Mnemonic::INVALID;
        Self { random: Random(seed), asm, start, mnemonic, operands: Vec::new() }
    }

    fn means<const N: usize>(&mut self, mnemonic: Mnemonic, operands: [Meant; N]) {
        self.mnemonic = mnemonic;
        self.operands.clear();
        self.operands.extend(operands);
    }

    fn row<T: Copy, M: Copy>(&mut self, rows: &[T], names: &[M]) -> (T, M) {
        assert_eq!(rows.len(), names.len());
        let index = self.random.below(rows.len());
        (rows[index], names[index])
    }

    fn float(&mut self, names: [Mnemonic; 2]) -> (Float, Mnemonic) {
        self.row(&FLOATS, &names)
    }

    fn any<T: Sample>(&mut self) -> T {
        T::sample(self)
    }

    /// An immediate of any length.
    fn immediate(&mut self) -> i32 {
        let bits = self.random.below(33) as u32;
        let value = (self.random.next() as u32).checked_shr(32 - bits).unwrap_or(0);
        if self.random.next() & 1 == 0 { value } else { value.wrapping_neg() }.cast_signed()
    }

    /// Encodes one instruction of a form and decodes it.
    fn check(&mut self, form: Form) {
        // After another instruction, so that the instruction is not at the start.
        self.asm.clear();
        self.start = self.asm.label();
        self.asm.bind(self.start);
        let before = self.random.below(300) as u32;
        self.asm.nops(before);
        form(self);
        let code = self.asm.code().unwrap();
        let bytes = &code.bytes[before as usize..];
        let wrong = read(bytes, ADDRESS + u64::from(before), self.mnemonic, &self.operands);
        assert_eq!(wrong, None);
    }
}

type Form = fn(&mut Trial);

/// An operand of any class, and its expected decoding.
trait Sample: Copy + 'static {
    fn sample(trial: &mut Trial) -> Self;
    fn meant(self, trial: &Trial, bits: u32) -> Meant;
}

impl Sample for Gpr {
    fn sample(trial: &mut Trial) -> Self {
        trial.random.pick(Gpr::ALL)
    }

    fn meant(self, _: &Trial, bits: u32) -> Meant {
        Meant::Register(general(self, bits))
    }
}

impl Sample for Xmm {
    fn sample(trial: &mut Trial) -> Self {
        trial.random.pick(Xmm::ALL)
    }

    fn meant(self, _: &Trial, _: u32) -> Meant {
        Meant::Register(sse(self))
    }
}

impl Sample for Mem {
    fn sample(trial: &mut Trial) -> Self {
        use Scale::*;
        let displacement = trial.immediate();
        let base = trial.any();
        let place = match trial.random.below(10) {
            0 => Mem::absolute(displacement),
            1 => Mem::at(base, 0),
            2 => Mem::at(base, trial.random.pick(&[-129, -128, 127, 128])),
            _ => Mem::at(base, displacement),
        };
        match (trial.random.below(3), trial.random.pick(Gpr::ALL).index()) {
            (0, Some(index)) => place.indexed(index, trial.random.pick(&[By1, By2, By4, By8])),
            _ => place,
        }
    }

    fn meant(self, _: &Trial, bits: u32) -> Meant {
        Meant::Memory(self.into(), bits)
    }
}

impl Sample for Rip {
    fn sample(trial: &mut Trial) -> Self {
        Rip::Label(trial.start)
    }

    fn meant(self, _: &Trial, bits: u32) -> Meant {
        Meant::Memory(Place::relative(ADDRESS), bits)
    }
}

impl Sample for GprOrStack {
    fn sample(trial: &mut Trial) -> Self {
        let (register, place) = (trial.any(), trial.any::<Mem>());
        match trial.random.next() & 1 {
            0 if register != Gpr::Rsp => GprOrStack::gpr(register),
            _ => GprOrStack::frame(place.displacement),
        }
    }

    fn meant(self, trial: &Trial, bits: u32) -> Meant {
        match self.register() {
            Some(register) => register.meant(trial, bits),
            None => self.memory().meant(trial, bits),
        }
    }
}

impl Sample for XmmOrMem {
    fn sample(trial: &mut Trial) -> Self {
        match trial.random.below(3) {
            0 => XmmOrMem::Xmm(trial.any()),
            1 => XmmOrMem::Mem(trial.any()),
            _ => XmmOrMem::Rip(trial.any()),
        }
    }

    fn meant(self, trial: &Trial, bits: u32) -> Meant {
        match self {
            XmmOrMem::Xmm(register) => register.meant(trial, bits),
            XmmOrMem::Mem(place) => place.meant(trial, bits),
            XmmOrMem::Rip(place) => place.meant(trial, bits),
        }
    }
}

impl Sample for i32 {
    fn sample(trial: &mut Trial) -> Self {
        trial.immediate()
    }

    fn meant(self, _: &Trial, bits: u32) -> Meant {
        Meant::Immediate(self.into(), bits)
    }
}

impl Sample for u8 {
    fn sample(trial: &mut Trial) -> Self {
        trial.random.below(64) as u8
    }

    fn meant(self, _: &Trial, _: u32) -> Meant {
        Meant::Immediate(self.into(), 8)
    }
}

impl Sample for Cl {
    fn sample(_: &mut Trial) -> Self {
        Cl
    }

    fn meant(self, _: &Trial, _: u32) -> Meant {
        Meant::Register(iced_x86::Register::CL)
    }
}

/// A width that can be printed.
trait AnyWidth: Width {
    const HERE: Self;
}

impl AnyWidth for W8 {
    const HERE: Self = W8;
}
impl AnyWidth for W16 {
    const HERE: Self = W16;
}
impl AnyWidth for W32 {
    const HERE: Self = W32;
}
impl AnyWidth for W64 {
    const HERE: Self = W64;
}

fn alu<W: AnyWidth, D: Sample, T: Sample + Source<D>>(trial: &mut Trial) {
    let (to, source) = (trial.any::<D>(), trial.any::<T>());
    let (row, name) = trial.row(Alu::ALL, &ALU);
    trial.asm.alu(row, W::HERE, to, source);
    trial.means(name, [to.meant(trial, W::HERE.bits()), source.meant(trial, W::HERE.bits())]);
}

fn test<W: AnyWidth, D: Sample, T: Sample + Source<D>>(trial: &mut Trial) {
    let (one, other) = (trial.any::<D>(), trial.any::<T>());
    trial.asm.test(W::HERE, one, other);
    let (one, other) = (one.meant(trial, W::HERE.bits()), other.meant(trial, W::HERE.bits()));
    // One encoding exists for both orders, in which the possible memory operand comes first.
    let swapped = [TypeId::of::<Mem>(), TypeId::of::<Rip>(), TypeId::of::<GprOrStack>()]
        .contains(&TypeId::of::<T>());
    trial.means(Mnemonic::Test, if swapped { [other, one] } else { [one, other] });
}

fn mov<W: AnyWidth, D: Sample, T: Sample + Source<D>>(trial: &mut Trial) {
    let (to, source) = (trial.any::<D>(), trial.any::<T>());
    trial.asm.mov(W::HERE, to, source);
    trial.means(
        Mnemonic::Mov,
        [to.meant(trial, W::HERE.bits()), source.meant(trial, W::HERE.bits())],
    );
}

/// A non-negative immediate is moved to the lower half only, which clears the upper one.
fn filled_bits(bits: u32, value: i64) -> u32 {
    if bits == 64 && u32::try_from(value).is_ok() { 32 } else { bits }
}

fn mov_immediate<W: AnyWidth>(trial: &mut Trial) {
    let (to, value) = (trial.any::<Gpr>(), trial.immediate());
    trial.asm.mov(W::HERE, to, value);
    let bits = filled_bits(W::HERE.bits(), value.into());
    trial.means(Mnemonic::Mov, [to.meant(trial, bits), value.meant(trial, bits)]);
}

fn mov_imm(trial: &mut Trial) {
    let to = trial.any::<Gpr>();
    let shift = trial.random.below(64);
    let value = trial.random.next() >> shift;
    let value = if trial.random.next() & 1 == 0 { value } else { !value };
    trial.asm.mov_imm(to, value);
    let bits = filled_bits(64, value.cast_signed());
    trial
        .means(Mnemonic::Mov, [to.meant(trial, bits), Meant::Immediate(value.cast_signed(), bits)]);
}

fn mov_symbol(trial: &mut Trial) {
    let to = trial.any::<Gpr>();
    trial.asm.mov_symbol(to, 1, 2);
    trial.means(Mnemonic::Mov, [to.meant(trial, 64), Meant::Immediate(0, 64)]);
}

fn zero(trial: &mut Trial) {
    let to = trial.any::<Gpr>();
    trial.asm.zero(to);
    trial.means(Mnemonic::Xor, [to.meant(trial, 32); 2]);
}

fn movzx<N: AnyWidth + Narrow, T: Sample + GprOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Gpr>(), trial.any::<T>());
    trial.asm.movzx(to, N::HERE, source);
    trial.means(Mnemonic::Movzx, [to.meant(trial, 32), source.meant(trial, N::HERE.bits())]);
}

fn movsx<W: AnyWidth + Full, T: Sample + GprOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Gpr>(), trial.any::<T>());
    let from = match trial.random.below(2) {
        0 => {
            trial.asm.movsx(W::HERE, to, W8, source);
            8
        }
        _ => {
            trial.asm.movsx(W::HERE, to, W16, source);
            16
        }
    };
    trial.means(Mnemonic::Movsx, [to.meant(trial, W::HERE.bits()), source.meant(trial, from)]);
}

fn movsxd<T: Sample + GprOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Gpr>(), trial.any::<T>());
    trial.asm.movsxd(to, source);
    trial.means(Mnemonic::Movsxd, [to.meant(trial, 64), source.meant(trial, 32)]);
}

fn lea<W: AnyWidth + Full, T: Sample + Address>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Gpr>(), trial.any::<T>());
    trial.asm.lea(W::HERE, to, source);
    trial.means(Mnemonic::Lea, [to.meant(trial, W::HERE.bits()), source.meant(trial, 0)]);
}

fn push_pop(trial: &mut Trial) {
    let register = trial.any::<Gpr>();
    let push = trial.random.next() & 1 == 0;
    if push {
        trial.asm.push(register)
    } else {
        trial.asm.pop(register)
    }
    let name = if push { Mnemonic::Push } else { Mnemonic::Pop };
    trial.means(name, [register.meant(trial, 64)]);
}

fn unary<W: AnyWidth, T: Sample + GprOperand>(trial: &mut Trial) {
    let operand = trial.any::<T>();
    let (row, name) = trial.row(Unary::ALL, &UNARY);
    trial.asm.unary(row, W::HERE, operand);
    trial.means(name, [operand.meant(trial, W::HERE.bits())]);
}

fn shift<W: AnyWidth, T: Sample + GprOperand, C: Sample + Count>(trial: &mut Trial) {
    let (operand, count) = (trial.any::<T>(), trial.any::<C>());
    let (row, name) = trial.row(Shift::ALL, &SHIFT);
    trial.asm.shift(row, W::HERE, operand, count);
    trial.means(name, [operand.meant(trial, W::HERE.bits()), count.meant(trial, 8)]);
}

fn imul<W: AnyWidth + Wide, T: Sample + GprOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Gpr>(), trial.any::<T>());
    trial.asm.imul(W::HERE, to, source);
    trial.means(
        Mnemonic::Imul,
        [to.meant(trial, W::HERE.bits()), source.meant(trial, W::HERE.bits())],
    );
}

fn imul_imm<W: AnyWidth + Wide, T: Sample + GprOperand>(trial: &mut Trial) {
    let (to, source, value) = (trial.any::<Gpr>(), trial.any::<T>(), trial.immediate());
    trial.asm.imul_imm(W::HERE, to, source, value);
    let [to, source] = [to.meant(trial, W::HERE.bits()), source.meant(trial, W::HERE.bits())];
    trial.means(Mnemonic::Imul, [to, source, value.meant(trial, W::HERE.bits())]);
}

fn setcc<T: Sample + GprOperand>(trial: &mut Trial) {
    let operand = trial.any::<T>();
    let (cond, name) = trial.row(&Cond::ALL, &SET);
    trial.asm.setcc(cond, operand);
    trial.means(name, [operand.meant(trial, 8)]);
}

fn cmovcc<W: AnyWidth + Wide, T: Sample + GprOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Gpr>(), trial.any::<T>());
    let (cond, name) = trial.row(&Cond::ALL, &MOVE);
    trial.asm.cmovcc(cond, W::HERE, to, source);
    trial.means(name, [to.meant(trial, W::HERE.bits()), source.meant(trial, W::HERE.bits())]);
}

fn xchg<W: AnyWidth, T: Sample + GprOperand>(trial: &mut Trial) {
    let (operand, register) = (trial.any::<T>(), trial.any::<Gpr>());
    trial.asm.xchg(W::HERE, operand, register);
    let operands = [operand.meant(trial, W::HERE.bits()), register.meant(trial, W::HERE.bits())];
    trial.means(Mnemonic::Xchg, operands);
}

fn plain(trial: &mut Trial) {
    use Mnemonic::*;
    type Put = fn(&mut Assembler);
    let puts: [(Put, Mnemonic); 4] = [
        (|asm| asm.ret(), Ret),
        (|asm| asm.sign_to_rdx(W16), Cwd),
        (|asm| asm.sign_to_rdx(W32), Cdq),
        (|asm| asm.sign_to_rdx(W64), Cqo),
    ];
    let (put, name) = trial.random.pick(&puts);
    put(&mut trial.asm);
    trial.means(name, []);
}

fn jump_back(trial: &mut Trial) {
    let (start, target) = (trial.start, Meant::Target(ADDRESS));
    let (cond, name) = trial.row(&Cond::ALL, &JUMP);
    match trial.random.below(3) {
        0 => {
            trial.asm.jmp(start);
            trial.means(Mnemonic::Jmp, [target]);
        }
        1 => {
            trial.asm.call(start);
            trial.means(Mnemonic::Call, [target]);
        }
        _ => {
            trial.asm.jcc(cond, start);
            trial.means(name, [target]);
        }
    }
}

fn jump_to<T: Sample + GprOperand>(trial: &mut Trial) {
    let operand = trial.any::<T>();
    let call = trial.random.next() & 1 == 0;
    if call {
        trial.asm.call_to(operand)
    } else {
        trial.asm.jmp_to(operand)
    }
    let name = if call { Mnemonic::Call } else { Mnemonic::Jmp };
    trial.means(name, [operand.meant(trial, 64)]);
}

fn scalar<T: Sample + XmmOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Xmm>(), trial.any::<T>());
    let (row, names) = trial.row(Scalar::ALL, &SCALAR);
    let (float, name) = trial.float(names);
    trial.asm.scalar(row, float, to, source);
    trial.means(name, [to.meant(trial, 0), source.meant(trial, bits(float))]);
}

fn bits(float: Float) -> u32 {
    if float == Float::F32 { 32 } else { 64 }
}

fn bitwise<T: Sample + XmmOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Xmm>(), trial.any::<T>());
    let (row, names) = trial.row(Bitwise::ALL, &BITWISE);
    let (float, name) = trial.float(names);
    trial.asm.bitwise(row, float, to, source);
    let compares = [Bitwise::UCOMIS, Bitwise::COMIS].contains(&row);
    let read = if compares { bits(float) } else { 128 };
    trial.means(name, [to.meant(trial, 0), source.meant(trial, read)]);
}

fn mov_scalar<T: Sample + XmmOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Xmm>(), trial.any::<T>());
    let (float, name) = trial.float([Mnemonic::Movss, Mnemonic::Movsd]);
    trial.asm.mov_scalar(float, to, source);
    trial.means(name, [to.meant(trial, bits(float)), source.meant(trial, bits(float))]);
}

fn mov_scalar_store<T: Sample + Address>(trial: &mut Trial) {
    let (to, from) = (trial.any::<T>(), trial.any::<Xmm>());
    let (float, name) = trial.float([Mnemonic::Movss, Mnemonic::Movsd]);
    trial.asm.mov_scalar_store(float, to, from);
    trial.means(name, [to.meant(trial, bits(float)), from.meant(trial, bits(float))]);
}

fn movq<T: Sample + GprOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Xmm>(), trial.any::<T>());
    trial.asm.movq(to, source);
    trial.means(Mnemonic::Movq, [to.meant(trial, 64), source.meant(trial, 64)]);
}

fn move_whole<T: Sample + XmmOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Xmm>(), trial.any::<T>());
    let aligned = trial.random.next() & 1 == 0;
    if aligned {
        trial.asm.movaps(to, source)
    } else {
        trial.asm.movups(to, source)
    }
    let name = if aligned { Mnemonic::Movaps } else { Mnemonic::Movups };
    trial.means(name, [to.meant(trial, 0), source.meant(trial, 128)]);
}

fn store_whole<T: Sample + Address>(trial: &mut Trial) {
    let (to, from) = (trial.any::<T>(), trial.any::<Xmm>());
    trial.asm.movups_store(to, from);
    trial.means(Mnemonic::Movups, [to.meant(trial, 128), from.meant(trial, 0)]);
}

fn from_integer<W: AnyWidth + Full, T: Sample + GprOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Xmm>(), trial.any::<T>());
    let (float, name) = trial.float([Mnemonic::Cvtsi2ss, Mnemonic::Cvtsi2sd]);
    trial.asm.cvtsi2s(float, to, W::HERE, source);
    trial.means(name, [to.meant(trial, 0), source.meant(trial, W::HERE.bits())]);
}

fn to_integer<W: AnyWidth + Full, T: Sample + XmmOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Gpr>(), trial.any::<T>());
    let (float, name) = trial.float([Mnemonic::Cvttss2si, Mnemonic::Cvttsd2si]);
    trial.asm.cvtts2si(float, W::HERE, to, source);
    trial.means(name, [to.meant(trial, W::HERE.bits()), source.meant(trial, bits(float))]);
}

fn between_floats<T: Sample + XmmOperand>(trial: &mut Trial) {
    let (to, source) = (trial.any::<Xmm>(), trial.any::<T>());
    let (from, name) = trial.float([Mnemonic::Cvtss2sd, Mnemonic::Cvtsd2ss]);
    match from {
        Float::F32 => trial.asm.cvtss2sd(to, source),
        Float::F64 => trial.asm.cvtsd2ss(to, source),
    }
    trial.means(name, [to.meant(trial, 0), source.meant(trial, bits(from))]);
}

/// A form for each operand and each width.
macro_rules! forms {
    ($forms:ident: $($form:ident [$($width:ident)*] $operands:tt;)*) => {
        $(forms!(@widths $forms $form [$($width)*] $operands);)*
    };
    (@widths $forms:ident $form:ident [$($width:ident)*] $operands:tt) => {
        $(forms!(@one $forms $form $width $operands);)*
    };
    (@one $forms:ident $form:ident $width:ident [$(($($operand:ident)*))*]) => {
        $($forms.push($form::<$width $(, $operand)*>);)*
    };
}

/// The same for forms without a width.
macro_rules! plain_forms {
    ($($form:ident [$(($($operand:ident)*))*];)*) => {
        [$($($form::<$($operand),*> as Form),*),*]
    };
}

fn all_forms() -> Vec<Form> {
    let mut forms: Vec<Form> =
        Vec::from([mov_imm as Form, mov_symbol, zero, push_pop, plain, jump_back]);
    forms! { forms:
        alu [W8 W16 W32 W64] [(Gpr Gpr) (Gpr Mem) (Gpr Rip) (Gpr GprOrStack) (Gpr i32) (Mem Gpr)
            (Mem i32) (Rip Gpr) (Rip i32) (GprOrStack Gpr) (GprOrStack i32)];
        test [W8 W16 W32 W64] [(Gpr Gpr) (Gpr Mem) (Gpr Rip) (Gpr GprOrStack) (Gpr i32) (Mem Gpr)
            (Mem i32) (Rip Gpr) (Rip i32) (GprOrStack Gpr) (GprOrStack i32)];
        mov [W8 W16 W32 W64] [(Gpr Gpr) (Gpr Mem) (Gpr Rip) (Gpr GprOrStack) (Mem Gpr) (Mem i32)
            (Rip Gpr) (Rip i32) (GprOrStack Gpr)];
        mov [W8 W16 W32] [(GprOrStack i32)];
        mov_immediate [W8 W16 W32 W64] [()];
        movzx [W8 W16] [(Gpr) (Mem) (Rip) (GprOrStack)];
        movsx [W32 W64] [(Gpr) (Mem) (Rip) (GprOrStack)];
        lea [W32 W64] [(Mem) (Rip)];
        unary [W8 W16 W32 W64] [(Gpr) (Mem) (Rip) (GprOrStack)];
        shift [W8 W16 W32 W64] [(Gpr u8) (Mem u8) (Rip u8) (GprOrStack u8) (Gpr Cl) (Mem Cl)
            (Rip Cl)];
        imul [W16 W32 W64] [(Gpr) (Mem) (Rip) (GprOrStack)];
        imul_imm [W16 W32 W64] [(Gpr) (Mem) (Rip) (GprOrStack)];
        cmovcc [W16 W32 W64] [(Gpr) (Mem) (Rip) (GprOrStack)];
        xchg [W8 W16 W32 W64] [(Gpr) (Mem) (Rip) (GprOrStack)];
        from_integer [W32 W64] [(Gpr) (Mem) (Rip) (GprOrStack)];
        to_integer [W32 W64] [(Xmm) (Mem) (Rip) (XmmOrMem)];
    }
    forms.extend(plain_forms! {
        movsxd [(Gpr) (Mem) (Rip) (GprOrStack)];
        setcc [(Gpr) (Mem) (Rip) (GprOrStack)];
        jump_to [(Gpr) (Mem) (Rip) (GprOrStack)];
        scalar [(Xmm) (Mem) (Rip) (XmmOrMem)];
        bitwise [(Xmm) (Mem) (Rip) (XmmOrMem)];
        mov_scalar [(Xmm) (Mem) (Rip) (XmmOrMem)];
        mov_scalar_store [(Mem) (Rip)];
        movq [(Gpr) (Mem) (Rip)];
        move_whole [(Xmm) (Mem) (Rip) (XmmOrMem)];
        store_whole [(Mem) (Rip)];
        between_floats [(Xmm) (Mem) (Rip) (XmmOrMem)];
    });
    forms
}

#[test]
#[cfg_attr(miri, ignore = "the decoder takes minutes to begin")]
fn decoder_reads_the_intended_instruction() {
    let forms = all_forms();
    assert!(forms.len() * TIMES[0] >= 1_000_000);
    let mut trial = Trial::new(1);
    for form in &forms {
        (0..scale(TIMES[0], TIMES[1])).for_each(|_| trial.check(*form));
    }
}

#[test]
fn rows_have_the_names_of_the_manual() {
    let lower = |name: Mnemonic| std::format!("{name:?}").to_lowercase();
    let pair = |[single, double]: [Mnemonic; 2], name: &str| {
        assert_eq!(lower(single), std::format!("{name}s"));
        assert_eq!(lower(double), std::format!("{name}d"));
    };
    Alu::ALL.iter().zip(ALU).for_each(|(row, name)| assert_eq!(row.name(), lower(name)));
    Unary::ALL.iter().zip(UNARY).for_each(|(row, name)| assert_eq!(row.name(), lower(name)));
    Shift::ALL.iter().zip(SHIFT).for_each(|(row, name)| assert_eq!(row.name(), lower(name)));
    Scalar::ALL.iter().zip(SCALAR).for_each(|(row, names)| pair(names, row.name()));
    Bitwise::ALL.iter().zip(BITWISE).for_each(|(row, names)| pair(names, row.name()));
}
