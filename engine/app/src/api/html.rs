//! Plain pages of HTML for people: no script, own styles, made for screen, dark rooms and paper alike.

use crate::language::Language;

/// Nothing from elsewhere, no script, no frame around it.
pub(super) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark;font-family:system-ui,sans-serif;line-height:1.5}\
body{margin:2rem auto;max-width:72rem;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:1.5rem}\
table{border-collapse:collapse;width:100%;font-size:.85rem}\
th,td{border:1px solid #8888;padding:.25rem .4rem;text-align:left;vertical-align:top;overflow-wrap:break-word}\
th{background:#8882}p{max-width:52rem}code{font-size:.9em}\
thead{display:table-header-group}tr{break-inside:avoid}\
td.id{font-family:ui-monospace,monospace;font-size:.75rem;overflow-wrap:anywhere}td.time{white-space:nowrap}\
@media screen and (max-width:56rem){table.rows,.rows tbody,.rows tr,.rows td{display:block}.rows thead{display:none}\
.rows tr{border:1px solid #8888;border-radius:.4rem;margin:0 0 .75rem;padding:.3rem .6rem}\
.rows td{border:0;display:grid;grid-template-columns:9rem 1fr;gap:.5rem;padding:.15rem 0}\
.rows td::before{content:attr(data-label);font:600 .85rem/1.5 system-ui,sans-serif;white-space:normal}.rows td:empty{display:none}}\
@media print{@page{size:A4 landscape;margin:12mm}:root{color-scheme:light;font-size:9pt}body{margin:0;max-width:none;padding:0}\
a{color:inherit;text-decoration:none}}";

/// A text as HTML shows it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// As [`escaped`], with the places at which a long name may be broken.
pub(super) fn breakable(text: &str) -> String {
    escaped(text).replace('.', ".<wbr>")
}

/// A whole page; `title` is text, `body` is HTML.
pub(super) fn page(language: Language, title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"{}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{}</title><style>{STYLE}</style></head><body><main>{body}</main>\
         </body></html>",
        language.tag(),
        escaped(title),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v17_nothing_in_a_text_is_markup() {
        assert_eq!(escaped("<a href='x'>&\"ç"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;ç");
        let html = page(Language::Portuguese, "<t>", "<p>b</p>");
        assert!(
            html.contains("<title>&lt;t&gt;</title>") && html.contains("<p>b</p>") && html.contains("@media print")
        );
    }
}
