//! The modules of a crate with their items, and the resolution of paths in them.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Item, UseTree, Visibility};

use crate::error::{At, Error};

/// The number of a module.
pub(super) type ModuleId = usize;

/// A module.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) items: Vec<Item>,
    parent: ModuleId,
    children: Vec<ModuleId>,
}

/// All modules; the first is the crate root.
pub(super) struct Tree(pub(super) Vec<Module>);

/// What a path denotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    Module(ModuleId),
    /// A module, and the index of its item.
    Item(ModuleId, usize),
}

/// A name that a `use` brings into scope.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// `None` for all names.
    pub(super) name: Option<String>,
}

/// How many imports a path may lead through.
const MAX_DEPTH: usize = 8;

impl Tree {
    /// Reads the crate whose root is the file `path`.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let mut tree = Tree(Vec::new());
        let directory = path.parent().unwrap_or(path).to_owned();
        tree.add("", (parse(path)?, path, directory), 0)?;
        Ok(tree)
    }

    /// Adds a module: its items, its file, and the directory of the files of its modules.
    fn add(
        &mut self,
        name: &str,
        (items, file, directory): (Vec<Item>, &Path, PathBuf),
        parent: ModuleId,
    ) -> Result<ModuleId, Error> {
        let id = self.0.len();
        let mut items: Vec<Item> =
            items.into_iter().filter(|item| !is_test(attributes(item))).collect();
        self.0.push(Module {
            name: name.to_owned(),
            items: Vec::new(),
            parent,
            children: Vec::new(),
        });
        let mut children = Vec::new();
        for item in &mut items {
            let Item::Mod(module) = item else { continue };
            let name = module.ident.to_string();
            let below = directory.join(&name);
            let content = match &mut module.content {
                Some((_, content)) => (std::mem::take(content), file.to_owned()),
                None => {
                    let stated = stated_path(&module.attrs).map(|path| file.with_file_name(path));
                    let files = [below.with_extension("rs"), below.join("mod.rs")];
                    let mut files = stated.into_iter().chain(files);
                    let missing = || Error::Missing("file of this module", below.clone());
                    let file = files.find(|file| file.exists()).ok_or_else(missing)?;
                    (parse(&file)?, file)
                }
            };
            let (content, file) = content;
            children.push(self.add(&name, (content, &file, below), id)?);
        }
        if let Some(module) = self.0.get_mut(id) {
            (module.items, module.children) = (items, children);
        }
        Ok(id)
    }

    /// What `path` denotes in the module; nothing for items of other crates.
    pub(super) fn resolve(&self, from: ModuleId, path: &[String]) -> Vec<Found> {
        self.resolve_within(from, path, 0)
    }

    fn resolve_within(&self, from: ModuleId, path: &[String], depth: usize) -> Vec<Found> {
        let Some((first, rest)) = path.split_first() else { return vec![Found::Module(from)] };
        let Some(module) = self.0.get(from) else { return Vec::new() };
        match first.as_str() {
            "crate" => return self.resolve_within(0, rest, depth),
            "self" => return self.resolve_within(from, rest, depth),
            "super" => return self.resolve_within(module.parent, rest, depth),
            _ => {}
        }
        let mut found = self.named(from, first);
        if found.is_empty() && depth < MAX_DEPTH {
            for import in module.items.iter().flat_map(imports) {
                let path = match &import.name {
                    Some(name) if name == first => import.path,
                    Some(_) => continue,
                    None => [import.path, vec![first.clone()]].concat(),
                };
                found.extend(self.resolve_within(from, &path, depth + 1));
            }
        }
        if rest.is_empty() {
            return found;
        }
        let modules = found.into_iter().filter_map(|found| match found {
            Found::Module(module) => Some(module),
            Found::Item(..) => None,
        });
        modules.flat_map(|module| self.resolve_within(module, rest, depth)).collect()
    }

    /// The modules and items of a module that have this name.
    fn named(&self, module: ModuleId, name: &str) -> Vec<Found> {
        let Some(Module { items, children, .. }) = self.0.get(module) else { return Vec::new() };
        let is_child = |id: &&ModuleId| self.0.get(**id).is_some_and(|child| child.name == name);
        let modules = children.iter().filter(is_child).map(|id| Found::Module(*id));
        let items =
            items.iter().enumerate().filter(|(_, item)| ident(item).is_some_and(|i| i == name));
        modules.chain(items.map(|(index, _)| Found::Item(module, index))).collect()
    }

    /// The child of `module` that its item, a module, denotes.
    pub(super) fn child(&self, module: ModuleId, item: usize) -> Option<ModuleId> {
        let Module { items, children, .. } = self.0.get(module)?;
        let before = items.iter().take(item).filter(|item| matches!(item, Item::Mod(_))).count();
        children.get(before).copied()
    }
}

fn parse(path: &Path) -> Result<Vec<Item>, Error> {
    let text = fs::read_to_string(path).at(path)?;
    Ok(syn::parse_file(&text).map_err(std::io::Error::other).at(path)?.items)
}

/// The file of `#[path = "..."]`, or the first one of `#[cfg_attr(..., path = "...")]`, which stands for the others.
fn stated_path(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let text = attribute.meta.to_token_stream().to_string();
        let is_path = attribute.path().is_ident("path") || attribute.path().is_ident("cfg_attr");
        let (_, path) = text.rsplit_once("path = \"").filter(|_| is_path)?;
        path.split_once('"').map(|(path, _)| path.to_owned())
    })
}

/// Whether the item belongs to tests, or to a model checker.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let condition = list.tokens.to_string();
        let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
        list.path.is_ident("cfg")
            && words.any(|word| word == "test" || word == "loom")
            && !condition.contains("not")
    })
}

/// The attributes of an item.
pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name of an item that is not a module.
pub(super) fn ident(item: &Item) -> Option<&syn::Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

/// Whether an item is `pub`.
pub(super) fn is_public(item: &Item) -> bool {
    let visibility = match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Mod(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Union(item) => &item.vis,
        Item::Use(item) => &item.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}

/// The names that an item brings into scope.
pub(super) fn imports(item: &Item) -> Vec<Import> {
    let mut found = Vec::new();
    if let Item::Use(item) = item {
        flatten(&item.tree, &mut Vec::new(), &mut found);
    }
    found
}

/// The paths of the tokens after `use`; none of those that are no import.
pub(crate) fn import_paths(tokens: TokenStream) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    if let Ok(tree) = syn::parse2(tokens) {
        flatten(&tree, &mut Vec::new(), &mut found);
    }
    found.into_iter().map(|import| import.path).collect()
}

fn flatten(tree: &UseTree, path: &mut Vec<String>, found: &mut Vec<Import>) {
    let import = |path: &[String], name: Option<String>| Import { path: path.to_vec(), name };
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            flatten(&part.tree, path, found);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found.push(import(path, path.last().cloned()));
        }
        UseTree::Name(name) => {
            let path = [path.clone(), vec![name.ident.to_string()]].concat();
            found.push(import(&path, path.last().cloned()));
        }
        UseTree::Rename(renamed) => {
            let mut path = path.clone();
            path.extend((renamed.ident != "self").then(|| renamed.ident.to_string()));
            found.push(import(&path, Some(renamed.rename.to_string())));
        }
        UseTree::Glob(_) => found.push(import(path, None)),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| flatten(tree, path, found));
        }
    }
}
