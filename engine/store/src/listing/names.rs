//! Names of integrators: what people see, and what an order by integrator goes by.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use engate_model::{
    IntegratorId,
    delivery::Delivery,
    listing::{Sort, SortValue},
};

use super::lister::Lister;
use crate::{error::StoreError, value::args};

/// The names of a tenant's integrators.
#[derive(Default)]
pub(crate) struct Names {
    pub by_id: HashMap<IntegratorId, String>,
    pub by_name: BTreeMap<String, Vec<IntegratorId>>,
}

impl Names {
    /// Where a delivery stands in an order.
    pub(super) fn place(&self, sort: &Sort, delivery: &Delivery) -> Vec<SortValue> {
        sort.place(delivery, self.by_id.get(&delivery.integrator).map_or("", String::as_str))
    }
}

impl Lister {
    /// Reads the names of integrators, where the order goes by them.
    pub(super) async fn read_names(&mut self, sort: &Sort) -> Result<(), StoreError> {
        if sort.goes_by_names() {
            let sql = "SELECT id, name FROM integrators WHERE tenant_id = $1";
            let rows = self.reader.session.rows(sql, args![self.tenant]).await?;
            let mut names = Names::default();
            for row in rows {
                let mut cells = row.cells();
                let (id, name): (IntegratorId, String) = (cells.id()?, cells.text()?);
                names.by_name.entry(name.clone()).or_default().push(id);
                names.by_id.insert(id, name);
            }
            self.names = Arc::new(names);
        }
        Ok(())
    }
}
