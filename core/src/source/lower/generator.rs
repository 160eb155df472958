//! The instances of a unit: which functions are lowered, in which order, and with which result types.
//!
//! Functions without type parameters come first, in the order of their declaration; calls add instances of generic
//! functions behind them, until none is left. The depth of instantiation, the number of instances and the nesting of
//! types are bounded.

use super::inner::InnerFunctions;
use super::*;
use crate::alloc_util::{
    AllocError, try_box, try_copy_str, try_reserve, try_to_string, try_with_capacity,
};
use crate::ir::{BuildError, TypeArgument};
use crate::source::diagnostic::Diagnostics;
use crate::source::program::constant::State;
use crate::source::program::data::ConstantData;
use crate::types::Type;

/// The most bytes of constants that are copied to the read-only data of functions, also of those that are lowered to infer a
/// type: a few bytes of text stand for a large array.
const MAX_DATA: usize = 32 << 20;

/// The deepest chain of instances that ask for each other.
const MAX_INSTANCE_DEPTH: u32 = 50;

/// The most functions of a unit, instances included.
const MAX_INSTANCES: usize = 1 << 16;

/// The deepest chain of functions whose results follow from each other.
const MAX_INFERENCE: u32 = 20;

/// What a call goes to.
pub(super) enum Callee {
    /// The number of an instance: of the function in the unit.
    Instance(u32),
    /// A symbol of the host.
    Host(Name),
    /// An instance of a template, for types of this one.
    Template(Name, Vec<TypeArgument>),
    Address(Local),
}

/// A function with its type arguments.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Instance {
    pub(in crate::source) function: u32,
    /// A range of [`Generator::arguments`].
    pub(in crate::source) arguments: List,
    depth: u32,
    result: ResultType,
    is_recursive: bool,
    /// The file and the offset where it is asked for first.
    pub(in crate::source) asked: (u32, u32),
}

/// A function that is lowered.
pub(in crate::source) struct Lowered {
    /// The number of the instance.
    pub(in crate::source) instance: u32,
    /// The line of the declaration, and the one on which it ends.
    pub(in crate::source) line: u32,
    pub(in crate::source) last_line: u32,
    /// The encoded IR.
    pub(in crate::source) bytes: Vec<u8>,
    pub(in crate::source) messages: Vec<AssertionMessage>,
}

/// The message of an assertion in a function.
#[derive(Clone, Copy)]
pub(in crate::source) struct AssertionMessage {
    /// The offset of the place of its trap, in the file of the function.
    pub(in crate::source) offset: u32,
    /// The file that has the assertion, and the number of the text in its tree.
    pub(in crate::source) source: u32,
    pub(in crate::source) text: u32,
}

/// Lowers the functions of a program.
pub(in crate::source) struct Generator<'p, 's> {
    pub(in crate::source) program: Program<'p, 's>,
    pub(in crate::source) instances: Vec<Instance>,
    pub(in crate::source) arguments: Vec<TypeId>,
    index: HashIndex,
    pub(super) inner: InnerFunctions,
    /// The number of generic calls without type arguments, and the place of the first one.
    pub(in crate::source) unresolved: (usize, Option<(u32, Span)>),
    inferring: u32,
    /// Whether it was reported that there are more than [`MAX_INSTANCES`].
    has_too_many: bool,
    /// By the number of a name: the walk and the number of the variable that it refers to.
    pub(super) visible: Vec<(u32, u32)>,
    walks: u32,
    spare: Spare,
    /// By the number of a constant: whether it is known, and the bytes of one that is data.
    constant_data: Vec<(bool, Option<ConstantData>)>,
    /// The memory of the list of what a call passes.
    pub(super) locals: Vec<Local>,
    /// By the number of a function: whether it may write to memory behind pointers, once that is asked for.
    pub(super) writers: Vec<Option<bool>>,
    /// The places of errors in instances of generic functions, each with its code.
    pub(super) instance_errors: Vec<(u32, u32, Code)>,
    /// Bytes of constants that may still be copied to read-only data.
    pub(super) data_left: usize,
}

/// The memory of a generator, for the next one.
#[derive(Default)]
pub(in crate::source) struct Memory {
    visible: Vec<(u32, u32)>,
    walks: u32,
    spare: Spare,
}

/// The memory of the last function, for the next one.
#[derive(Default)]
struct Spare {
    builder: Option<Box<FunctionBuilder>>,
    variables: Vec<Variable>,
    loops: Vec<Loop>,
    used: Vec<bool>,
    spine: Vec<ExprId>,
}

impl<'p, 's> Generator<'p, 's> {
    pub(in crate::source) fn new(program: Program<'p, 's>, memory: Memory) -> Self {
        let Memory { mut visible, mut walks, spare } = memory;
        // The entries of earlier walks stay. Before their numbers come again, there are none.
        if walks > u32::MAX / 2 {
            (visible, walks) = (Vec::new(), 0);
        }
        Self {
            program,
            instances: Vec::new(),
            arguments: Vec::new(),
            index: HashIndex::default(),
            inner: InnerFunctions::default(),
            unresolved: (0, None),
            inferring: 0,
            has_too_many: false,
            visible,
            walks,
            spare,
            constant_data: Vec::new(),
            locals: Vec::new(),
            writers: Vec::new(),
            instance_errors: Vec::new(),
            data_left: MAX_DATA,
        }
    }

    /// What is left for another generator, and the diagnostics.
    pub(in crate::source) fn finish(self) -> (Memory, Diagnostics) {
        let Self { visible, walks, spare, program, .. } = self;
        (Memory { visible, walks, spare }, program.diagnostics)
    }

    /// The number of the next walk, from 1.
    pub(super) fn next_walk(&mut self) -> u32 {
        self.walks = self.walks.wrapping_add(1).max(1);
        self.walks
    }

    /// Lowers everything that the first file and the functions of the others need.
    pub(in crate::source) fn run(&mut self) -> Vec<Lowered> {
        for number in 0..count(&self.program.consts) {
            // An error is reported here, and not where a body without a result type is tried.
            self.program.constant(number);
        }
        let functions = self.program.functions.len();
        let reserved = try_reserve(&mut self.instances, functions);
        let index = reserved.and_then(|()| HashIndex::with_capacity(functions));
        self.index = self.program.diagnostics.allocated(index).unwrap_or_default();
        for number in 0..count(&self.program.functions) {
            let Some(info) = self.program.function(number) else { continue };
            let is_other_main = info.decl.word.name == Name::MAIN && info.source > 0;
            if !info.is_generic() && !info.is_external && !is_other_main {
                self.instance(number, &[], 0, (info.source, info.decl.word.span));
            }
        }
        let lowered = self.lower_pending();
        self.check_constants();
        self.check_defaults();
        lowered
    }

    /// The bytes of a constant that is read-only data of the functions that use it.
    pub(super) fn constant_data(&mut self, number: u32) -> Option<&ConstantData> {
        let index = usize::try_from(number).ok()?;
        if self.constant_data.len() <= index {
            let (len, list) = (index.saturating_add(1), &mut self.constant_data);
            let grown = list.try_reserve(len - list.len()).map_err(|_| AllocError);
            self.program.diagnostics.allocated(grown)?;
            list.resize_with(len, || (false, None));
        }
        let (is_known, data) = self.constant_data.get_mut(index)?;
        if !core::mem::replace(is_known, true) {
            *data = self.program.constant_data(number);
        }
        data.as_ref()
    }

    /// Checks the arrays and structs among the constants that no function used.
    fn check_constants(&mut self) {
        for number in 0..count(&self.program.consts) {
            self.program.constant(number);
            let info = at(&self.program.consts, number).copied();
            let Some(info) = info.filter(|info| info.state == State::Compound) else { continue };
            let Some(mut body) = Body::empty(self, info.source, 0, None) else { break };
            body.written_constant(number, Want::NOTHING, info.decl.word.span);
            body.drop_variables(0);
            body.recycle();
        }
    }

    /// Checks the defaults of parameters and fields that no call used. Those of generic functions and types depend on their
    /// arguments.
    fn check_defaults(&mut self) {
        if self.program.diagnostics.has_errors() {
            return;
        }
        let functions = (0..).zip(&self.program.functions).filter(|(_, info)| !info.is_generic());
        let params = functions.flat_map(|(number, info)| {
            let params = self.program.param_list(info.params).iter();
            let place = (info.source, self.inner.scope_of(number));
            params.filter_map(move |param| Some((place, param.default?, param.ty)))
        });
        let structs = self.program.structs.iter().filter(|info| info.type_params == 0);
        let fields = structs.flat_map(|info| {
            let fields = range(&self.program.fields, info.fields).iter();
            fields.filter_map(|field| Some(((info.source, None), field.default?, field.ty)))
        });
        let defaults = crate::alloc_util::try_collect(params.chain(fields));
        for (place, default, ty) in self.program.diagnostics.allocated(defaults).unwrap_or_default()
        {
            let Some(mut body) = Body::empty(self, place.0, 0, None) else { return };
            body.default(place, default, |body| _ = body.expr_as(default, ty));
            body.recycle();
        }
    }

    /// Whether the type arguments of a function have what its bounds ask for; an error in a file otherwise.
    pub(in crate::source) fn check_bounds(
        &mut self,
        function: u32,
        types: &[TypeId],
        (source, span): (u32, Span),
    ) -> bool {
        let Some(info) = self.program.function(function) else { return false };
        let Some(mut body) = Body::empty(self, source, 0, None) else { return false };
        let holds = body.check_bounds(&info, types, span);
        body.recycle();
        holds
    }

    /// Lowers the instances, and those that they ask for.
    pub(in crate::source) fn lower_pending(&mut self) -> Vec<Lowered> {
        let lowered = try_with_capacity(self.instances.len());
        let mut lowered = self.program.diagnostics.allocated(lowered).unwrap_or_default();
        let mut next = 0;
        while next < self.instances.len() && !self.program.diagnostics.is_full() {
            let number = u32::try_from(next).unwrap_or(u32::MAX);
            if let Some(function) = self.lower_instance(number) {
                self.program.diagnostics.push(&mut lowered, function);
            }
            if self.program.diagnostics.out_of_memory {
                break;
            }
            next += 1;
        }
        lowered
    }

    /// Whether a generic function has an instance for types, with those that it asks for. The instances that were known are
    /// known no more; of the functions that are not generic, all are right.
    pub(in crate::source) fn has_instance(
        &mut self,
        number: u32,
        info: &FunctionInfo,
        types: &[TypeId],
    ) -> Result<bool, AllocError> {
        self.instances.clear();
        self.arguments.clear();
        self.index = HashIndex::default();
        self.data_left = MAX_DATA;
        let diagnostics = core::mem::replace(&mut self.program.diagnostics, Diagnostics::new());
        self.program.diagnostics.muted = 1;
        let place = (info.source, info.decl.word.span);
        if self.check_bounds(number, types, place) {
            self.instance(number, types, 0, place);
        }
        let mut next = 0;
        while let Some(&instance) = at(&self.instances, next)
            && self.program.diagnostics.error_count() == 0
        {
            if !self.instance_types(&instance).is_empty() {
                self.lower_instance(next);
            }
            next += 1;
        }
        let found = core::mem::replace(&mut self.program.diagnostics, diagnostics);
        match found.out_of_memory {
            true => Err(AllocError),
            false => Ok(found.error_count() == 0),
        }
    }

    pub(in crate::source) fn instance_types(&self, instance: &Instance) -> &[TypeId] {
        range(&self.arguments, instance.arguments)
    }

    fn copied_types(&mut self, instance: &Instance) -> Option<Vec<TypeId>> {
        let types = crate::alloc_util::try_collect(self.instance_types(instance).iter().copied());
        self.program.diagnostics.allocated(types)
    }

    fn instance_hash(function: u32, types: &[TypeId]) -> u32 {
        let start = function.wrapping_mul(0x9e37_79b1);
        types.iter().fold(start, |hash, ty| (hash ^ ty.0).wrapping_mul(0x85eb_ca6b).rotate_left(13))
    }

    /// The instance of a function for type arguments, made where it is asked for first.
    pub(in crate::source) fn instance(
        &mut self,
        function: u32,
        types: &[TypeId],
        depth: u32,
        (source, span): (u32, Span),
    ) -> Option<u32> {
        let hash = Self::instance_hash(function, types);
        let same = |number: u32| {
            at(&self.instances, number).is_some_and(|instance| {
                instance.function == function && self.instance_types(instance) == types
            })
        };
        if let Some(known) = self.index.find(hash, same) {
            return Some(known);
        }
        let depth = if types.is_empty() { 0 } else { depth.saturating_add(1) };
        if depth > MAX_INSTANCE_DEPTH {
            let message = format_args!(
                "instances of generic functions ask for each other more than \
                 {MAX_INSTANCE_DEPTH} times"
            );
            self.program.error(source, span, Code::InstanceLimit, message);
            return None;
        }
        if self.instances.len() >= MAX_INSTANCES {
            let is_first = !self.has_too_many;
            if is_first && self.program.diagnostics.muted == 0 {
                self.has_too_many = true;
                let message = format_args!("more than {MAX_INSTANCES} functions");
                self.program.error(source, span, Code::InstanceLimit, message);
            }
            return None;
        }
        let arguments = List { start: count(&self.arguments), len: count(types) };
        let added = types.iter().try_for_each(|&ty| try_push(&mut self.arguments, ty));
        self.program.diagnostics.allocated(added);
        let result = self.program.function(function)?.result;
        let number = count(&self.instances);
        let (is_recursive, asked) = (false, (source, span.start));
        let instance = Instance { function, arguments, depth, result, is_recursive, asked };
        let pushed = try_push(&mut self.instances, instance);
        let pushed = pushed.and(self.index.insert(hash, number));
        self.program.diagnostics.allocated(pushed);
        Some(number)
    }

    /// The type of the result of a lowered instance.
    pub(in crate::source) fn result(&mut self, number: u32) -> TypeId {
        self.result_of(number, (0, Span::default()))
    }

    /// The type of the result of an instance, from its body where it has none.
    pub(super) fn result_of(&mut self, number: u32, (source, span): (u32, Span)) -> TypeId {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(&instance) = self.instances.get(index) else { return TypeId::ERROR };
        match instance.result {
            ResultType::Known(result) if !self.program.types.has_params(result) => result,
            ResultType::Known(result) => {
                let types = range(&self.arguments, instance.arguments);
                self.program.substituted((source, span), result, types)
            }
            ResultType::Inferring => self.recursive_result(index, &instance),
            ResultType::Missing => self.infer(number),
        }
    }

    /// The result of a function that is asked for while its body is looked at.
    fn recursive_result(&mut self, index: usize, instance: &Instance) -> TypeId {
        if self.program.mode() == Mode::Manager {
            return TypeId::I64;
        }
        if let Some(instance) = self.instances.get_mut(index) {
            instance.is_recursive = true;
        }
        if let Some(info) = self.program.function(instance.function)
            && !instance.is_recursive
        {
            self.missing_result(&info, "is recursive");
        }
        TypeId::ERROR
    }

    fn missing_result(&mut self, info: &FunctionInfo, reason: &str) {
        let name = self.program.name(info.decl.word.name);
        let message = format_args!("function '{name}' {reason} and needs a result type");
        let note =
            format_args!("write `-> T` behind the parameters, or `-> ()` if there is no result");
        let (span, kind) = (info.decl.word.span, (Severity::Error, Code::MissingResultType));
        self.program.unmuted(|program| {
            program.report(info.source, span, kind, message, Some(note));
        });
    }

    fn infer(&mut self, number: u32) -> TypeId {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let function = self.instances.get(index).map(|instance| instance.function);
        let Some(info) = function.and_then(|function| self.program.function(function)) else {
            return TypeId::ERROR;
        };
        if self.inferring >= MAX_INFERENCE {
            self.missing_result(&info, "ends a long chain of functions without result types");
            return TypeId::ERROR;
        }
        self.inferring += 1;
        self.program.diagnostics.muted += 1;
        self.set_result(index, ResultType::Inferring);
        let result = Body::probe(self, number);
        self.program.diagnostics.muted -= 1;
        self.inferring -= 1;
        let is_recursive = self.instances.get(index).is_some_and(|i| i.is_recursive);
        // Nothing follows from a parameter that has no type.
        let is_wrong = self.program.param_list(info.params).iter().any(|param| param.ty.is_error());
        let result = if is_recursive || is_wrong { TypeId::ERROR } else { result };
        self.set_result(index, ResultType::Known(result));
        result
    }

    fn set_result(&mut self, index: usize, result: ResultType) {
        if let Some(instance) = self.instances.get_mut(index) {
            instance.result = result;
        }
    }

    fn lower_instance(&mut self, number: u32) -> Option<Lowered> {
        let instance = *at(&self.instances, number)?;
        let info = self.program.function(instance.function)?;
        let result = self.result_of(number, (info.source, info.decl.word.span));
        let is_recursive = at(&self.instances, number).is_some_and(|i| i.is_recursive);
        if is_recursive {
            return None;
        }
        if self.program.types.has_view(result) {
            self.program.refuse_view_as_result(&info);
            return None;
        }
        let types = self.copied_types(&instance)?;
        let body = Body::new(self, instance.function, &types, Some(result), instance.depth)?;
        body.run(number)
    }

    /// The IR of a generic function with its type parameters; `None` where it needs the types themselves.
    pub(in crate::source) fn template(&mut self, function: u32) -> Option<Vec<u8>> {
        let info = self.program.function(function)?;
        if info.type_params > u32::from(crate::ir::MAX_PARAMETERS) {
            return None;
        }
        let result = match info.result {
            ResultType::Known(result) => result,
            _ => self.infer_generic(function, &info)?,
        };
        let types = self.own_types(&info)?;
        let (lowered, errors) = self.muted(|unit| {
            let mut body = Body::new(unit, function, &types, Some(result), 0)?;
            body.lower();
            Some((body.is_opaque, body.encode()))
        });
        let (is_opaque, bytes) = lowered?;
        if is_opaque || self.program.diagnostics.out_of_memory {
            return None;
        }
        if errors > 0 {
            // Not a matter of types: reported although nothing asks for an instance.
            Body::new(self, function, &types, Some(result), 0)?.lower();
            return None;
        }
        let bytes = bytes?;
        let function = crate::ir::Function::parse(&bytes).ok()?;
        crate::ir::Verified::new(function).is_ok().then_some(bytes)
    }

    /// The type parameters of a generic function as types.
    fn own_types(&mut self, info: &FunctionInfo) -> Option<Vec<TypeId>> {
        let scope = self.program.type_scope(info);
        let types = crate::alloc_util::try_collect(scope.iter().map(|entry| entry.1));
        self.program.diagnostics.allocated(types)
    }

    /// Runs `lower` without reports of its errors; their number.
    fn muted<T>(&mut self, lower: impl FnOnce(&mut Self) -> T) -> (T, usize) {
        self.program.diagnostics.muted += 1;
        let before = core::mem::take(&mut self.program.diagnostics.muted_errors);
        let lowered = lower(self);
        self.program.diagnostics.muted -= 1;
        (lowered, core::mem::replace(&mut self.program.diagnostics.muted_errors, before))
    }

    /// The type of the result of a generic function in terms of its type parameters; `None` where it needs the types
    /// themselves.
    fn infer_generic(&mut self, function: u32, info: &FunctionInfo) -> Option<TypeId> {
        let types = self.own_types(info)?;
        let (lowered, errors) = self.muted(|unit| {
            let mut body = Body::new(unit, function, &types, None, 0)?;
            body.is_probe = true;
            body.lower();
            Some((body.is_opaque, body.result.unwrap_or(TypeId::UNIT)))
        });
        let (is_opaque, result) = lowered?;
        if is_opaque || errors > 0 || result.is_error() {
            return None;
        }
        let index = usize::try_from(function).ok()?;
        self.program.functions.get_mut(index)?.result = ResultType::Known(result);
        Some(result)
    }

    /// The function that contains a function.
    pub(in crate::source) fn outer_function(&self, number: u32) -> Option<u32> {
        self.inner.outer_function(number)
    }
}

impl<'g, 'p, 's> Body<'g, 'p, 's> {
    fn new(
        unit: &'g mut Generator<'p, 's>,
        number: u32,
        types: &[TypeId],
        result: Option<TypeId>,
        instance_depth: u32,
    ) -> Option<Self> {
        let info = unit.program.function(number)?;
        let mut scope = unit.program.type_scope(&info);
        scope.iter_mut().zip(types).for_each(|(entry, &ty)| entry.1 = ty);
        let is_template = types.iter().any(|&ty| unit.program.types.has_params(ty));
        let params = if is_template { u8::try_from(types.len()).ok()? } else { 0 };
        let mut body = Self::empty(unit, info.source, params, result)?;
        body.types = scope;
        body.is_template = is_template;
        body.instance_depth = instance_depth;
        body.number = number;
        body.is_script = info.decl.is_script;
        if let Some(scope) = body.unit.inner.scope_of(number) {
            body.push(|body| &mut body.scopes, (scope, 0));
        }
        if let Some(ty) = info.self_type {
            let ty = body.substituted(ty, types, info.decl.word.span);
            body.push(|body| &mut body.types, (Name::SELF_TYPE, ty));
        }
        body.parameters(&info, types);
        Some(body)
    }

    /// A body without a function, with the names of a file: for the check of values that no function has.
    fn empty(
        unit: &'g mut Generator<'p, 's>,
        source: u32,
        params: u8,
        result: Option<TypeId>,
    ) -> Option<Self> {
        let file = unit.program.source(source)?;
        let value = match result.map(|ty| unit.program.repr(ty)) {
            Some(Repr::Scalar(ty)) => Some(ty),
            _ => None,
        };
        let Spare { builder, variables, loops, used, spine } = core::mem::take(&mut unit.spare);
        let builder = builder.map_or_else(|| try_box(FunctionBuilder::default()), Ok);
        let mut builder = unit.program.diagnostics.allocated(builder)?;
        builder.reset(params, value);
        let name = builder.file(file.file.name);
        Some(Self {
            tree: &file.tree,
            source,
            builder,
            file: Some(name),
            line: 0,
            types: Vec::new(),
            variables,
            loops,
            used,
            first_reached: 0,
            spine,
            result,
            result_place: None,
            reachable: true,
            has_dead: false,
            depth: 0,
            frame: 0,
            slots: Default::default(),
            is_template: false,
            is_probe: false,
            is_opaque: false,
            instance_depth: 0,
            messages: Vec::new(),
            located: 0,
            data: Vec::new(),
            probed: Vec::new(),
            scopes: Vec::new(),
            blocks: 0,
            probed_index: HashIndex::default(),
            number: NO_FUNCTION,
            walk: unit.next_walk(),
            is_script: false,
            unknown: Vec::new(),
            defaults: Vec::new(),
            has_no_bool: None,
            unit,
        })
    }

    /// The type of the result of a function without one.
    fn probe(unit: &'g mut Generator<'p, 's>, number: u32) -> TypeId {
        let Some(&instance) = at(&unit.instances, number) else { return TypeId::ERROR };
        let types = unit.copied_types(&instance).unwrap_or_default();
        let Some(mut body) = Body::new(unit, instance.function, &types, None, instance.depth)
        else {
            return TypeId::ERROR;
        };
        body.is_probe = true;
        body.lower();
        let result = body.result.unwrap_or(TypeId::UNIT);
        body.recycle();
        result
    }

    /// Leaves the memory to the next function.
    fn recycle(self) {
        let Self { unit, builder, mut variables, mut loops, mut used, mut spine, .. } = self;
        variables.clear();
        loops.clear();
        used.clear();
        spine.clear();
        unit.spare = Spare { builder: Some(builder), variables, loops, used, spine };
    }

    fn run(mut self, instance: u32) -> Option<Lowered> {
        self.lower();
        if self.unit.program.diagnostics.has_errors() {
            return None;
        }
        let decl = self.unit.program.function(self.number)?.decl;
        let span = decl.word.span;
        // The walk was near to it last.
        let last_line = self.last_line(&decl);
        let (line, messages) = (self.line, core::mem::take(&mut self.messages));
        let mut bytes = Vec::new();
        let finished = self.builder.finish_into(&mut bytes);
        match finished {
            Ok(()) => {
                self.recycle();
                Some(Lowered { instance, line, last_line, bytes, messages })
            }
            Err(BuildError::OutOfMemory) => {
                self.unit.program.diagnostics.allocated::<()>(Err(AllocError));
                None
            }
            Err(BuildError::Locals) => {
                let message = format_args!(
                    "the function is too large: its variables and intermediate values are more than 65,535"
                );
                self.error_with_note(span, Code::TooLarge, message, format_args!("split it"));
                None
            }
            Err(error) => {
                let message = format_args!("the function is too large: {error}");
                self.error(span, Code::TooLarge, message);
                None
            }
        }
    }

    /// The line on which a declaration ends, or the file that is a script.
    fn last_line(&self, decl: &FunctionDecl) -> u32 {
        let Some(source) = self.unit.program.source(self.source) else { return 0 };
        let text = source.file.text;
        let (start, end) = match decl.is_script {
            true => (0, text.len()),
            // A block ends where the next line starts.
            false => (decl.span.start, decl.span.of(text).trim_end().len()),
        };
        source.file.line(start.saturating_add(u32::try_from(end).unwrap_or(u32::MAX))).0
    }

    fn encode(self) -> Option<Vec<u8>> {
        self.builder.finish().ok()
    }

    /// Declares the parameters: those of the IR first, then the variables.
    fn parameters(&mut self, info: &FunctionInfo, types: &[TypeId]) {
        let result = self.result.map(|ty| self.repr(ty));
        if let Some(Repr::Memory | Repr::Pair) = result {
            let pointer = self.builder.param(Scalar::Pointer);
            self.result_place = Some(Place::at(Base::Pointer(pointer)));
        }
        let own = match info.receiver() {
            Receiver::None => None,
            _ => self.types.last().map(|entry| entry.1),
        };
        if let Some(ty) = own {
            let is_mutable = info.receiver() == Receiver::Mutable;
            let mut value = self.parameter(ty);
            if let Value::Place(place) = &mut value.value {
                // It may be the value behind a pointer that the method has, too.
                place.is_pointee = is_mutable && self.unit.program.has_pointers;
            }
            self.add_variable(Name::SELF, value, is_mutable);
        }
        for index in 0..info.params.len() {
            let param = self.unit.program.param_list(info.params).get(index).copied();
            let Some(param) = param else { break };
            let ty = self.substituted(param.ty, types, info.decl.word.span);
            let value = self.parameter(ty);
            self.add_variable(param.name, value, param.mutable);
        }
        // A parameter of memory that the body changes is a copy; the locals of the IR follow its parameters.
        for index in usize::from(own.is_some())..self.variables.len() {
            let Some(&Variable { value, mutable, .. }) = self.variables.get(index) else { break };
            if mutable && self.repr(value.ty) == Repr::Memory {
                let copy = self.owned(value, true, None, info.decl.word.span);
                if let Some(variable) = self.variables.get_mut(index) {
                    variable.value = copy;
                }
            }
        }
    }

    fn parameter(&mut self, ty: TypeId) -> Typed {
        let value = match self.repr(ty) {
            Repr::Nothing => Value::None,
            Repr::Unknown => {
                self.is_opaque = true;
                return Typed::ERROR;
            }
            Repr::Scalar(ty) => Value::Local(self.builder.param(ty)),
            Repr::Pair => {
                let pointer = self.builder.param(Scalar::Pointer);
                Value::Pair(pointer, self.builder.param(Scalar::I64))
            }
            Repr::Memory => {
                Value::Place(Place::at(Base::Pointer(self.builder.param(Scalar::Pointer))))
            }
        };
        Typed::new(ty, value)
    }

    /// Lowers the body.
    fn lower(&mut self) {
        let info = self.unit.program.function(self.number);
        let Some((info, block)) = info.and_then(|info| Some((info, info.decl.body?))) else {
            return self.drop_variables(0);
        };
        self.line = self.locate(info.decl.word.span);
        let is_unit = self.result == Some(TypeId::UNIT) || self.is_script;
        let want = Want { ty: self.result, dest: self.result_place, ..Want::NOTHING };
        let value = self.block(block, want, !is_unit);
        let span = self.tail_span(block);
        if self.reachable {
            let value = if is_unit { Typed::UNIT } else { value };
            self.finish_with(value, span);
        } else if self.has_dead {
            self.builder.trap(TRAP_ASSERT);
        }
        self.drop_variables(0);
    }
}

/// Type terms as type arguments in the IR; `None` where the IR does not have one of them.
pub(super) fn type_arguments(terms: &[Type]) -> Result<Option<Vec<TypeArgument>>, AllocError> {
    let mut arguments = try_with_capacity(terms.len())?;
    for term in terms {
        let Some(argument) = type_argument(term)? else { return Ok(None) };
        arguments.push(argument);
    }
    Ok(Some(arguments))
}

fn type_argument(term: &Type) -> Result<Option<TypeArgument>, AllocError> {
    let ty = match term {
        Type::Variable(name) => {
            let number = name.strip_prefix('T').and_then(|number| number.parse().ok());
            number.map(ValueType::Parameter)
        }
        Type::Named { name, args } => {
            let name = try_copy_str(name)?;
            return Ok(type_arguments(args)?.map(|args| TypeArgument::Named(name, args)));
        }
        Type::Int { .. } | Type::Float { .. } | Type::Bool => {
            Scalar::from_name(&try_to_string(term)?).map(ValueType::Scalar)
        }
        _ => None,
    };
    Ok(ty.map(TypeArgument::Type))
}

/// The parameters of a function in the IR.
pub(super) fn abi(
    program: &Program<'_, '_>,
    params: &[TypeId],
    result: TypeId,
) -> Result<Vec<ValueType>, AllocError> {
    let pointer = ValueType::Scalar(Scalar::Pointer);
    let mut types = Vec::new();
    if matches!(program.repr(result), Repr::Memory | Repr::Pair) {
        try_push(&mut types, pointer)?;
    }
    for &param in params {
        match program.repr(param) {
            Repr::Nothing | Repr::Unknown => {}
            Repr::Scalar(ty) => try_push(&mut types, ty)?,
            Repr::Pair => {
                try_push(&mut types, pointer)?;
                try_push(&mut types, ValueType::Scalar(Scalar::I64))?;
            }
            Repr::Memory => try_push(&mut types, pointer)?,
        }
    }
    Ok(types)
}
