//! Which companies and branches are carried.

use std::collections::BTreeSet;

use engate_model::{
    WizardId,
    invalid::Complaints,
    token::Principal,
    wizard::{BRANCHES_MAX, COMPANIES_MAX, Company, Step, Wizard},
};

use super::VerbError;
use crate::engine::Engine;

/// Letters of a company's code at most.
const CODE_MAX: usize = 12;
/// Bytes of a branch at most.
const BRANCH_MAX: usize = 32;

/// A company as it is chosen.
#[derive(Debug, Clone)]
pub(crate) struct CompanyInput {
    /// Its part of the tables' names.
    pub(crate) code: String,
    /// Only these branches; none: all.
    pub(crate) branches: Vec<String>,
}

impl Engine {
    /// Settles which companies are carried; the rows of others are not read.
    pub(crate) async fn wizard_companies(
        &self,
        principal: &Principal,
        id: WizardId,
        companies: Vec<CompanyInput>,
    ) -> Result<Wizard, VerbError> {
        let mut doing = self.wizard_enter(principal, id, Step::Companies).await?;
        check(&companies)?;
        let companies =
            companies.into_iter().map(|CompanyInput { code, branches }| Company { code, branches }).collect();
        doing.wizard.progress.companies = Some(companies);
        self.wizard_leave(principal, Step::Companies, doing).await
    }
}

fn check(companies: &[CompanyInput]) -> Result<(), VerbError> {
    let mut complaints = Complaints::default();
    if !(1..=COMPANIES_MAX).contains(&companies.len()) {
        complaints.add("companies", format!("choose 1 to {COMPANIES_MAX} companies"));
    }
    let with_branches = companies.iter().filter(|company| !company.branches.is_empty()).count();
    if with_branches != 0 && with_branches != companies.len() {
        complaints.add("companies", "name branches of every company, or of none to carry all");
    }
    let mut seen = BTreeSet::new();
    for (n, company) in companies.iter().enumerate() {
        let plain = company.code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain || !(1..=CODE_MAX).contains(&company.code.len()) {
            let message = format!("1 to {CODE_MAX} letters and digits, as in the tables' names (01 of SA1010)");
            complaints.add(format!("companies[{n}].code"), message);
        }
        if !seen.insert(&company.code) {
            complaints.add(format!("companies[{n}].code"), "this company was named before");
        }
        if company.branches.len() > BRANCHES_MAX {
            complaints.add(format!("companies[{n}].branches"), format!("at most {BRANCHES_MAX} branches"));
        }
        for (m, branch) in company.branches.iter().enumerate() {
            let within = (1..=BRANCH_MAX).contains(&branch.len());
            if !within || branch.chars().any(char::is_control) {
                let message = format!("1 to {BRANCH_MAX} bytes without control characters");
                complaints.add(format!("companies[{n}].branches[{m}]"), message);
            }
        }
    }
    Ok(complaints.finish(())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn company(code: &str, branches: &[&str]) -> CompanyInput {
        CompanyInput { code: code.to_owned(), branches: branches.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn what_is_no_company_is_named() {
        let fields = |companies: &[CompanyInput]| match check(companies) {
            Err(VerbError::Invalid(invalid)) => invalid.0.into_iter().map(|error| error.field).collect(),
            _ => Vec::new(),
        };
        assert!(fields(&[company("01", &[]), company("03", &[])]).is_empty());
        assert_eq!(fields(&[]), ["companies"]);
        assert_eq!(fields(&[company("01", &["0101"]), company("03", &[])]), ["companies"]);
        let wrong = [company("0';", &["\0"]), company("01", &[""]), company("01", &["1"])];
        let expected =
            ["companies[0].code", "companies[0].branches[0]", "companies[1].branches[0]", "companies[2].code"];
        assert_eq!(fields(&wrong), expected);
    }
}
