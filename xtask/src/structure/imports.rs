//! What a module imports from its own crate.

use anyhow::Result;
use syn::{
    Attribute, Item, ItemMod, ItemUse, Meta, Path, UseTree,
    visit::{self, Visit},
};

use super::Module;

/// The paths below the crate's root that the code of `module` names, tests left out.
///
/// # Errors
/// Where this is no Rust.
pub fn of(module: &Module, text: &str) -> Result<Vec<Module>> {
    let mut found = Imports { here: module.clone(), paths: Vec::new() };
    found.visit_file(&syn::parse_file(text)?);
    Ok(found.paths)
}

struct Imports {
    here: Module,
    paths: Vec<Module>,
}

impl Imports {
    fn take(&mut self, segments: &[String]) {
        let (start, rest) = match segments.split_first() {
            Some((first, rest)) if first == "crate" => (Module::new(), rest),
            Some((first, rest)) if first == "self" => (self.here.clone(), rest),
            Some((first, _)) if first == "super" => {
                let up = segments.iter().take_while(|segment| *segment == "super").count();
                (self.here[..self.here.len().saturating_sub(up)].to_vec(), &segments[up..])
            }
            _ => return,
        };
        self.paths.push(start.into_iter().chain(rest.iter().cloned()).collect());
    }

    fn tree(&mut self, prefix: &mut Module, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(prefix, &path.tree);
                prefix.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(prefix, tree)),
            UseTree::Name(name) if name.ident == "self" => self.take(prefix),
            UseTree::Name(name) => self.named(prefix, name.ident.to_string()),
            UseTree::Rename(name) => self.named(prefix, name.ident.to_string()),
            UseTree::Glob(_) => self.take(prefix),
        }
    }

    fn named(&mut self, prefix: &mut Module, name: String) {
        prefix.push(name);
        self.take(prefix);
        prefix.pop();
    }
}

impl<'code> Visit<'code> for Imports {
    fn visit_item(&mut self, item: &'code Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes.iter().any(of_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'code ItemMod) {
        self.here.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.here.pop();
    }

    fn visit_item_use(&mut self, item: &'code ItemUse) {
        self.tree(&mut Module::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'code Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.take(&segments);
        visit::visit_path(self, path);
    }
}

/// Whether this is `#[cfg(test)]`.
fn of_tests(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
}
