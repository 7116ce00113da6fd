//! The import graph of a crate: which file uses items of which other.
//!
//! A path that begins with `crate`, `super`, `self` or a child module, in a `use` or anywhere else in
//! a file, is an import of the file whose module it names last. Text in strings is read like code;
//! comments and test modules are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The segments of a path, such as those of `crate::queue::Queue`. The path of a module has no
/// `crate`: the root's is empty.
type ItemPath = Vec<String>;

/// What an item counts for that a `mod.rs` or a `lib.rs` re-exports and does not use itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reexports {
    /// Who imports it imports the file that defines it. The re-export itself is no import, so that
    /// an adapter may use the port in its `mod.rs`, which re-exports the adapter.
    Followed,
    /// Who imports it imports the file that re-exports it, and that file the one that defines it.
    Counted,
}

/// The modules of a crate, one a file.
pub(crate) struct ImportGraph {
    modules: BTreeMap<ItemPath, Module>,
}

struct Module {
    file: PathBuf,
    /// The modules that it declares as files.
    children: Vec<String>,
    imports: Vec<Import>,
}

/// One path of this crate in a file.
struct Import {
    path: ItemPath,
    /// The name that a `use` gives to the item; `None` for a path elsewhere.
    name: Option<String>,
    /// Whether the file only hands the name on.
    is_reexport: bool,
}

impl ImportGraph {
    /// Reads all files of the crate whose `lib.rs` is in the folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut modules = BTreeMap::new();
        read_module(Vec::new(), folder.join("lib.rs"), folder, &mut modules);
        Self { modules }
    }

    /// Returns the sets of files that import each other, directly or through others.
    pub(crate) fn circles(&self, reexports: Reexports) -> BTreeSet<BTreeSet<&Path>> {
        let names = self.modules.keys();
        let imports: BTreeMap<&ItemPath, BTreeSet<&ItemPath>> = names
            .clone()
            .map(|name| (name, self.imports_of(name, reexports)))
            .collect();
        let reached_from = |name: &ItemPath| {
            let mut reached = BTreeSet::new();
            let mut next = Vec::from_iter(&imports[name]);
            while let Some(name) = next.pop() {
                if reached.insert(*name) {
                    next.extend(&imports[*name]);
                }
            }
            reached
        };
        let reached: BTreeMap<&ItemPath, BTreeSet<&ItemPath>> = names
            .clone()
            .map(|name| (name, reached_from(name)))
            .collect();
        let circle_of = |name: &ItemPath| {
            let others = reached[name].iter();
            others
                .filter(|other| reached[**other].contains(name))
                .map(|other| self.modules[*other].file.as_path())
                .collect()
        };
        names
            .filter(|name| reached[name].contains(name))
            .map(circle_of)
            .collect()
    }

    /// Returns the parts of the crate, its folders and the files beside `lib.rs`, each with the
    /// other parts that it imports.
    pub(crate) fn parts(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut parts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for name in self.modules.keys() {
            let Some(part) = name.first() else { continue };
            let imports = self.imports_of(name, Reexports::Counted).into_iter();
            let others = imports.filter_map(|other| other.first());
            parts
                .entry(part)
                .or_default()
                .extend(others.filter(|other| *other != part).map(String::as_str));
        }
        parts
    }

    /// Returns the other modules that a module imports.
    fn imports_of(&self, name: &ItemPath, reexports: Reexports) -> BTreeSet<&ItemPath> {
        let imports = self.modules[name].imports.iter();
        imports
            .filter(|import| reexports == Reexports::Counted || !import.is_reexport)
            .map(|import| self.resolve(name, &import.path, reexports))
            .filter(|other| *other != name)
            .collect()
    }

    /// Returns the module that a path names last, as seen from the module `from`.
    fn resolve(&self, from: &ItemPath, path: &[String], reexports: Reexports) -> &ItemPath {
        let mut name = from.clone();
        let mut rest = path;
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "crate" => name.clear(),
                "super" => drop(name.pop()),
                "self" => {}
                child
                    if self.modules[&name]
                        .children
                        .iter()
                        .any(|known| known == child) =>
                {
                    name.push(child.to_owned());
                }
                _ => break,
            }
            rest = others;
        }
        let (name, module) = self.modules.get_key_value(&name).expect("a module");
        let mut imports = module.imports.iter();
        let import =
            imports.find(|import| import.name.is_some() && import.name.as_ref() == rest.first());
        match import {
            Some(import) if reexports == Reexports::Followed => {
                self.resolve(name, &import.path, reexports)
            }
            _ => name,
        }
    }
}

/// Reads a module and its children. `folder` is where the children's files are.
fn read_module(
    name: ItemPath,
    file: PathBuf,
    folder: &Path,
    modules: &mut BTreeMap<ItemPath, Module>,
) {
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let code = without_tests_and_comments(&text);
    let tokens = tokens(&code);
    let declarations = tokens
        .windows(3)
        .filter(|next| next[0] == "mod" && next[2] == ";");
    let children: Vec<String> = declarations.map(|next| next[1].to_owned()).collect();
    for child in &children {
        let child_folder = folder.join(child);
        let flat_file = child_folder.with_extension("rs");
        let file = if flat_file.exists() {
            flat_file
        } else {
            child_folder.join("mod.rs")
        };
        let name = [name.as_slice(), std::slice::from_ref(child)].concat();
        read_module(name, file, &child_folder, modules);
    }
    let imports = imports(&tokens, &children);
    let module = Module {
        file,
        children,
        imports,
    };
    modules.insert(name, module);
}

/// Returns a file's code. Its test module, if it has one, is the last item.
fn without_tests_and_comments(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            match lines.next() {
                Some(declaration) if declaration.ends_with(';') => continue,
                _ => break,
            }
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// Splits code into words, `::`, and other characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Returns every path that begins in this crate, with the trees of `use` spread out.
fn imports(tokens: &[&str], children: &[String]) -> Vec<Import> {
    let mut imports = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let begins = matches!(*token, "crate" | "super" | "self")
            || children.iter().any(|child| child == token);
        if !begins || tokens.get(index + 1) != Some(&"::") {
            continue;
        }
        let (is_use, is_public) = match tokens[..index] {
            // A path that goes on, a macro's `$crate`, or a visibility such as `pub(in crate::cli)`.
            [.., "::" | "." | "$" | "in"] => continue,
            [.., "pub" | ")", "use"] => (true, true),
            [.., "use"] => (true, false),
            _ => (false, false),
        };
        let mut paths = Vec::new();
        read_paths(&tokens[index..], Vec::new(), &mut paths);
        imports.extend(paths.into_iter().map(|(path, name)| Import {
            path,
            is_reexport: is_public && tokens.iter().filter(|token| **token == name).count() == 1,
            name: is_use.then(|| name.to_owned()),
        }));
    }
    imports
}

/// Reads a path, or each branch of a tree of paths, with the name that it gives to its item. Returns
/// how many tokens were read.
fn read_paths<'a>(
    tokens: &[&'a str],
    mut path: ItemPath,
    paths: &mut Vec<(ItemPath, &'a str)>,
) -> usize {
    let mut index = 0;
    loop {
        if tokens[index] == "{" {
            index += 1;
            while tokens[index] != "}" {
                index += match tokens[index] {
                    "," => 1,
                    _ => read_paths(&tokens[index..], path.clone(), paths),
                };
            }
            return index + 1;
        }
        path.push(tokens[index].to_owned());
        index += 1;
        if tokens.get(index) != Some(&"::") {
            break;
        }
        index += 1;
    }
    let mut name = tokens[index - 1];
    if tokens.get(index) == Some(&"as") {
        name = tokens[index + 1];
        index += 2;
    }
    paths.push((path, name));
    index
}

#[test]
fn circles_are_found_whichever_way_a_file_spells_its_imports() {
    let crate_root = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let file = crate_root.path().join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("written");
    };
    write(
        "lib.rs",
        "mod a;\nmod b;\nmod c;\npub mod port;\npub use a::A;\n",
    );
    write(
        "a.rs",
        "use crate::{b::{self, B as Bee}, port};\npub struct A;\n",
    );
    write("b.rs", "// use super::a;\nfn f() { super::c::g() }\n");
    write(
        "c.rs",
        "use crate::A;\n#[cfg(test)]\nmod tests {\n    use crate::port;\n}\n",
    );
    write(
        "port/mod.rs",
        "mod adapter;\npub use adapter::Adapter;\npub(in crate::a) trait Port {}\n",
    );
    write("port/adapter.rs", "use super::Port;\npub struct Adapter;\n");
    let graph = ImportGraph::read(crate_root.path());
    let circles = |reexports| {
        let circles = graph.circles(reexports).into_iter();
        let names = circles.map(|circle| {
            let files = circle.into_iter();
            let files =
                files.map(|file| file.strip_prefix(crate_root.path()).expect("a file in it"));
            files
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(circles(Reexports::Followed), [["a.rs", "b.rs", "c.rs"]]);
    assert_eq!(
        circles(Reexports::Counted),
        [
            vec!["a.rs", "b.rs", "c.rs", "lib.rs"],
            vec!["port/adapter.rs", "port/mod.rs"],
        ]
    );
}
