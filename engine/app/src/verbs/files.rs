//! Files behind signed links: only files, only the tenant's own below `files.root`, and written down in the audit. Each
//! tenant's admin sets the key of its links, so a link of one must not lead to the files of another: the first tenant has
//! the root but for the folder `tenants`, any other one the folder of its slug in that.

use std::{
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};

use engate_model::Timestamp;
use engate_store::{Actor, StoreError};
use serde_json::json;
use tokio::fs::{self, File};

use super::{
    VerbError,
    links::{LINK_SECRET, Link, LinkFault},
    tenants::FIRST_TENANT,
};
use crate::engine::Engine;

/// Who the audit says it was: a link is used without a token.
const CLIENT: &str = "signed_link";
/// Folder of the other tenants' folders below `files.root`.
const TENANTS: &str = "tenants";

/// Why no file is served.
#[derive(Debug)]
pub(crate) enum NoFile {
    /// `files.root` is not set.
    NotServed,
    /// The link is to blame.
    Link(LinkFault),
    /// There is no such file, or the path leads elsewhere.
    Missing,
    /// The engine is to blame.
    Failed(VerbError),
}

impl From<StoreError> for NoFile {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// A file, open and ready to be read.
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// The file.
    pub(crate) file: File,
    /// Its last name.
    pub(crate) name: String,
    /// Its length when it was opened.
    pub(crate) bytes: u64,
}

impl Engine {
    /// Opens the file that a link leads to.
    pub(crate) async fn file_open(&self, token: &str) -> Result<OpenFile, NoFile> {
        let root = self.config.files.root.as_deref().ok_or(NoFile::NotServed)?;
        let link = Link::parse(token).map_err(NoFile::Link)?;
        let tenant = link.tenant().map_err(NoFile::Link)?;
        let secret = self.store.secret_get_for_engine(tenant, LINK_SECRET).await?;
        let secret = secret.ok_or(NoFile::Link(LinkFault::Forged))?;
        let now = self.now();
        let claims = link.verify(&secret, now).map_err(NoFile::Link)?;
        let slug = self.tenant_slug(tenant).await?;
        let opened = open_of(root, &slug, &claims.path).await?;
        let actor = Actor { token: None, client: CLIENT.to_owned(), tenant: None, now, random: self.chance.bits() };
        let expires_at = Timestamp::from_micros(claims.exp.saturating_mul(1_000_000));
        let detail = json!({ "username": claims.username, "bytes": opened.bytes, "link_expires_at": expires_at });
        self.store.audit_append(&actor, tenant, "files.download", &claims.path, &detail).await?;
        Ok(opened)
    }
}

/// Opens `path` among the files of the tenant of that slug; empty: of none that is there.
async fn open_of(root: &Path, slug: &str, path: &str) -> Result<OpenFile, NoFile> {
    let tenants = root.join(TENANTS);
    match slug {
        "" => Err(NoFile::Missing),
        FIRST_TENANT => open_below(root, Some(&tenants), path).await,
        // A slug is one plain name: it begins with a letter or digit and has no slash.
        slug => open_below(&tenants.join(slug), None, path).await,
    }
}

/// Opens `path` below `root` and not below `except`. Where it leads is asked of the file system, with every link on the way resolved,
/// and must still be below the root. (Who can swap a folder for a link between the question and the opening
/// can write below the root, and has no need to.)
async fn open_below(root: &Path, except: Option<&Path>, path: &str) -> Result<OpenFile, NoFile> {
    let relative = plain(path).ok_or(NoFile::Missing)?;
    let root = fs::canonicalize(root).await.map_err(|error| {
        tracing::error!(%error, folder = %root.display(), "a folder of files.root cannot be read");
        NoFile::Missing
    })?;
    let found = fs::canonicalize(root.join(relative)).await.map_err(|_| NoFile::Missing)?;
    if !found.starts_with(&root) {
        tracing::warn!("a signed link leads out of the tenant's folder of files through a symbolic link; refused");
        return Err(NoFile::Missing);
    }
    if let Some(except) = except {
        // Where there is no such folder, nothing can lie below it.
        match fs::canonicalize(except).await {
            Ok(except) if found.starts_with(&except) => return Err(NoFile::Missing),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(NoFile::Missing),
            Ok(_) | Err(_) => {}
        }
    }
    // Asked before opening: opening a pipe would wait for its writer.
    let is_file = fs::metadata(&found).await.is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err(NoFile::Missing);
    }
    let file = File::open(&found).await.map_err(|_| NoFile::Missing)?;
    let bytes = file.metadata().await.map_err(|_| NoFile::Missing)?.len();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(OpenFile { file, name, bytes })
}

/// `path` as a relative path of plain names; none where it is anything else.
fn plain(path: &str) -> Option<PathBuf> {
    let plain = Path::new(path).components().all(|component| matches!(component, Component::Normal(_)));
    let clean = !path.is_empty() && !path.ends_with('/') && !path.contains(['\0', '\\']);
    (plain && clean).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_files_below_the_root_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/ç.pdf"), b"inside").unwrap();
        std::fs::write(folder.path().join("outside.txt"), b"outside").unwrap();
        std::os::unix::fs::symlink("../outside.txt", root.join("out.txt")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        std::os::unix::fs::symlink("a/ç.pdf", root.join("in.pdf")).unwrap();
        let open = async |path: &str| open_of(&root, "default", path).await.map(|file| (file.name, file.bytes));
        assert_eq!(open("a/ç.pdf").await.unwrap(), ("ç.pdf".to_owned(), 6));
        assert_eq!(open("in.pdf").await.unwrap().1, 6);
        let absolute = folder.path().join("outside.txt");
        let refused = [
            "out.txt",
            "up/outside.txt",
            "../outside.txt",
            "a/../../outside.txt",
            "a",
            "a/",
            "",
            ".",
            "/",
            "a/x.pdf",
            "a\\ç.pdf",
            "a/ç.pdf\0",
            "a/ç.pdf/",
            absolute.to_str().unwrap(),
        ];
        for path in refused {
            assert!(matches!(open(path).await, Err(NoFile::Missing)), "{path}");
        }
    }

    #[tokio::test]
    async fn each_tenant_has_files_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (path, text) in [("a.pdf", "first"), ("tenants/acme/a.pdf", "acme's"), ("tenants/saae/b.pdf", "saae's own")]
        {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink("tenants/acme", root.join("round")).unwrap();
        std::os::unix::fs::symlink("../saae/b.pdf", root.join("tenants/acme/b.pdf")).unwrap();
        let bytes = async |slug: &str, path: &str| open_of(root, slug, path).await.ok().map(|file| file.bytes);
        assert_eq!(bytes("default", "a.pdf").await, Some(5));
        assert_eq!((bytes("acme", "a.pdf").await, bytes("saae", "b.pdf").await), (Some(6), Some(10)));
        for (slug, path) in [
            ("default", "tenants/acme/a.pdf"),
            ("default", "round/a.pdf"),
            ("acme", "b.pdf"),
            ("acme", "../saae/b.pdf"),
            ("acme", "tenants/acme/a.pdf"),
            ("saae", "a.pdf"),
            ("nobody", "a.pdf"),
            ("", "acme/a.pdf"),
        ] {
            assert_eq!(bytes(slug, path).await, None, "{slug} {path}");
        }
    }
}
