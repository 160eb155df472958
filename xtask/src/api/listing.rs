//! The lines of the listing: `PATH: ITEM`, sorted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, TraitItem, Visibility};

use super::tree::{Found, ModuleId, Tree, attributes, ident, imports, is_public};
use crate::error::Error;

/// The listing of the crate with this root and name, without some modules.
pub(super) fn of_crate(root: &Path, name: &str, without: &[&str]) -> Result<String, Error> {
    let tree = Tree::read(root)?;
    let mut listing = Listing { impls: impls(&tree), tree: &tree, without, lines: BTreeSet::new() };
    listing.module(0, name, "", &mut Vec::new());
    Ok(listing.lines.iter().map(|line| format!("{line}\n")).collect())
}

/// The implementations of each type of the crate.
fn impls(tree: &Tree) -> BTreeMap<Found, Vec<&ItemImpl>> {
    let mut found: BTreeMap<Found, Vec<&ItemImpl>> = BTreeMap::new();
    for (module, item) in tree
        .0
        .iter()
        .enumerate()
        .flat_map(|(id, module)| module.items.iter().map(move |item| (id, item)))
    {
        let Item::Impl(block) = item else { continue };
        let syn::Type::Path(path) = &*block.self_ty else { continue };
        let path: Vec<String> =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        for ty in tree.resolve(module, &path) {
            found.entry(ty).or_default().push(block);
        }
    }
    found
}

struct Listing<'t> {
    tree: &'t Tree,
    impls: BTreeMap<Found, Vec<&'t ItemImpl>>,
    without: &'t [&'t str],
    lines: BTreeSet<String>,
}

impl Listing<'_> {
    /// The public items of a module under the path `path`; `inside` are the modules that are being listed.
    fn module(&mut self, id: ModuleId, path: &str, condition: &str, inside: &mut Vec<ModuleId>) {
        let tree = self.tree;
        let Some(module) = tree.0.get(id) else { return };
        if inside.contains(&id) {
            return;
        }
        inside.push(id);
        for (index, item) in module.items.iter().enumerate() {
            let condition = format!("{condition}{}", conditions(attributes(item)));
            match item {
                Item::Macro(item) if is_exported(&item.attrs) => {
                    let name = item.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                    self.line(path, &format!("macro {name}!"), &condition);
                }
                item if !is_public(item) || is_hidden(attributes(item)) => {}
                Item::Mod(item) => {
                    let name = item.ident.to_string();
                    if inside.len() == 1 && self.without.contains(&&*name) {
                        continue;
                    }
                    self.line(path, &format!("pub mod {name}"), &condition);
                    if let Some(child) = tree.child(id, index) {
                        // The line of the module has the condition.
                        self.module(child, &format!("{path}::{name}"), "", inside);
                    }
                }
                Item::Use(_) => self.exports(id, item, path, &condition, inside),
                _ => self.item(Found::Item(id, index), None, path, &condition, inside),
            }
        }
        inside.pop();
    }

    /// What a `pub use` exports.
    fn exports(
        &mut self,
        id: ModuleId,
        item: &Item,
        path: &str,
        condition: &str,
        inside: &mut Vec<ModuleId>,
    ) {
        for import in imports(item) {
            let found = self.tree.resolve(id, &import.path);
            if found.is_empty() {
                let name = import.name.as_deref().unwrap_or("*");
                let line = format!("pub use {} as {name}", import.path.join("::"));
                self.line(path, &line, condition);
            }
            for found in found {
                match (found, &import.name) {
                    (Found::Module(module), None) => self.module(module, path, condition, inside),
                    (found, name) => self.item(found, name.as_deref(), path, condition, inside),
                }
            }
        }
    }

    /// An item, under another name if one is given.
    fn item(
        &mut self,
        found: Found,
        name: Option<&str>,
        path: &str,
        condition: &str,
        inside: &mut Vec<ModuleId>,
    ) {
        let tree = self.tree;
        let (module, index) = match found {
            Found::Module(module) => {
                let below = format!("{path}::{}", name.unwrap_or_default());
                return self.module(module, &below, condition, inside);
            }
            Found::Item(module, index) => (module, index),
        };
        let Some(item) = tree.0.get(module).and_then(|module| module.items.get(index)) else {
            return;
        };
        if !is_public(item) {
            return;
        }
        let own = ident(item).map(ToString::to_string).unwrap_or_default();
        let name = name.unwrap_or(&own);
        let below = format!("{path}::{name}");
        let head = head(item);
        let head = match name == own {
            true => head,
            false => head.replacen(&own, name, 1),
        };
        // The members are those of the line that has the condition.
        self.line(path, &head, condition);
        match item {
            Item::Struct(item) => self.fields(&item.fields, &below, false),
            Item::Enum(item) => {
                for variant in &item.variants {
                    let own = conditions(&variant.attrs);
                    self.line(&below, &variant.ident.to_string(), &own);
                    let below = format!("{below}::{}", variant.ident);
                    self.fields(&variant.fields, &below, true);
                }
            }
            Item::Trait(item) => {
                for member in &item.items {
                    self.line(&below, &trait_item(member), "");
                }
            }
            _ => {}
        }
        for block in self.impls.get(&found).cloned().unwrap_or_default() {
            self.implementation(block, &below, &conditions(&block.attrs));
        }
    }

    fn fields(&mut self, fields: &Fields, path: &str, is_variant: bool) {
        for (number, field) in fields.iter().enumerate() {
            if is_variant || matches!(field.vis, Visibility::Public(_)) {
                let number = number.to_string();
                let name = field.ident.as_ref().map_or(number, ToString::to_string);
                let line = format!("pub {name}: {}", text(&field.ty));
                self.line(path, &line, &conditions(&field.attrs));
            }
        }
    }

    fn implementation(&mut self, block: &ItemImpl, path: &str, condition: &str) {
        let generics = text(&block.generics);
        if let Some((not, of, _)) = &block.trait_ {
            let not = if not.is_some() { "!" } else { "" };
            let line = format!("impl{generics} {not}{} for {}", text(of), text(&block.self_ty));
            return self.line(path, &line, condition);
        }
        for member in &block.items {
            let (attributes, visibility, line) = match member {
                ImplItem::Fn(item) => (&item.attrs, &item.vis, text(&item.sig)),
                ImplItem::Const(item) => {
                    (&item.attrs, &item.vis, format!("const {}: {}", item.ident, text(&item.ty)))
                }
                _ => continue,
            };
            if matches!(visibility, Visibility::Public(_)) && !is_hidden(attributes) {
                let condition = format!("{condition}{}", conditions(attributes));
                self.line(path, &format!("pub {line}"), &condition);
            }
        }
    }

    fn line(&mut self, path: &str, item: &str, condition: &str) {
        self.lines.insert(format!("{path}: {item}{condition}"));
    }
}

/// The line of an item without its members.
fn head(item: &Item) -> String {
    let attributes: String = attributes(item).iter().filter_map(shown).collect();
    let line = match item {
        Item::Const(item) => format!("const {}: {}", item.ident, text(&item.ty)),
        Item::Static(item) => format!("static {}: {}", item.ident, text(&item.ty)),
        Item::Fn(item) => text(&item.sig),
        Item::Struct(item) => format!("struct {}{}", item.ident, text(&item.generics)),
        Item::Enum(item) => format!("enum {}{}", item.ident, text(&item.generics)),
        Item::Union(item) => format!("union {}{}", item.ident, text(&item.generics)),
        Item::Type(item) => {
            format!("type {}{} = {}", item.ident, text(&item.generics), text(&item.ty))
        }
        Item::Trait(item) => {
            let unsafety = if item.unsafety.is_some() { "unsafe " } else { "" };
            let above = text(&item.supertraits);
            let above = if above.is_empty() { above } else { format!(": {above}") };
            format!("{unsafety}trait {}{}{above}", item.ident, text(&item.generics))
        }
        _ => String::new(),
    };
    format!("{attributes}pub {line}")
}

fn trait_item(item: &TraitItem) -> String {
    match item {
        TraitItem::Fn(item) => {
            let provided = if item.default.is_some() { " { .. }" } else { "" };
            format!("{}{provided}", text(&item.sig))
        }
        TraitItem::Const(item) => format!("const {}: {}", item.ident, text(&item.ty)),
        TraitItem::Type(item) => format!("type {}: {}", item.ident, text(&item.bounds)),
        other => text(other),
    }
}

/// An attribute that is part of the interface.
fn shown(attribute: &Attribute) -> Option<String> {
    let names = ["derive", "non_exhaustive", "repr", "must_use", "deprecated"];
    let is_shown = names.iter().any(|name| attribute.path().is_ident(name));
    is_shown.then(|| format!("#[{}] ", text(&attribute.meta)))
}

/// The conditions of compilation.
fn conditions(attributes: &[Attribute]) -> String {
    let cfg = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    cfg.map(|attribute| format!(" [{}]", text(&attribute.meta))).collect()
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("doc") && text(&attribute.meta).contains("(hidden)")
    })
}

fn is_exported(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("macro_export"))
}

/// Source text on one line, with the usual spaces.
fn text(tokens: &impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (from, to) in SPACES {
        line = line.replace(from, to);
    }
    line
}

const SPACES: [(&str, &str); 17] = [
    (" :: ", "::"),
    (":: ", "::"),
    (" ::", "::"),
    (" < ", "<"),
    (" <", "<"),
    ("< ", "<"),
    (" >", ">"),
    ("& ", "&"),
    (" ,", ","),
    (",)", ")"),
    (",>", ">"),
    (" ;", ";"),
    (" :", ":"),
    (" (", "("),
    ("* const", "*const"),
    ("* mut", "*mut"),
    ("->(", "-> ("),
];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn listing(name: &str, files: &[(&str, &str)]) -> Vec<String> {
        let directory = std::env::temp_dir().join(format!("api-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for (file, text) in files {
            fs::write(directory.join(file), text).unwrap();
        }
        let listed = of_crate(&directory.join("lib.rs"), "a", &["ffi"]).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        listed.lines().map(str::to_owned).collect()
    }

    #[test]
    fn reachable_items_are_listed_with_their_members() {
        let root = "mod inner; pub mod outer; pub mod ffi { pub fn f() {} }\n\
            pub use inner::{Kind as Sort, deep::*}; pub use core::fmt;\n\
            #[cfg(test)] pub mod tests { pub fn f() {} }\n";
        let inner = "pub enum Kind { One(u8), Two { at: u64 } } pub struct Hidden;\n\
            impl Kind { pub fn new(at: &'_ [u8]) -> Option<Self> { None } fn private() {} }\n\
            impl Default for Kind { fn default() -> Self { Kind::One(0) } }\n\
            pub mod deep { pub const N: usize = 1; const M: usize = 2; }\n";
        let outer = "#[derive(Clone)] pub struct S<T> { pub a: T, b: u8 }\n\
            #[cfg(feature = \"x\")] pub trait T: Send { fn f(&self) {} fn g(&self); }\n";
        let lines = listing("all", &[("lib.rs", root), ("inner.rs", inner), ("outer.rs", outer)]);
        assert_eq!(
            lines,
            [
                "a: pub const N: usize",
                "a: pub enum Sort",
                "a: pub mod outer",
                "a: pub use core::fmt as fmt",
                "a::Sort: One",
                "a::Sort: Two",
                "a::Sort: impl Default for Kind",
                "a::Sort: pub fn new(at: &'_ [u8]) -> Option<Self>",
                "a::Sort::One: pub 0: u8",
                "a::Sort::Two: pub at: u64",
                "a::outer: #[derive(Clone)] pub struct S<T>",
                "a::outer: pub trait T: Send [cfg(feature = \"x\")]",
                "a::outer::S: pub a: T",
                "a::outer::T: fn f(&self) { .. }",
                "a::outer::T: fn g(&self)",
            ]
        );
    }

    #[test]
    fn missing_file_of_a_module_is_an_error() {
        let directory = std::env::temp_dir().join(format!("api-{}-none", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("lib.rs"), "pub mod absent;\n").unwrap();
        let listed = of_crate(&directory.join("lib.rs"), "a", &[]);
        assert!(listed.unwrap_err().to_string().contains("absent"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
