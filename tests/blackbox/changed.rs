//! A record of the log was changed while the service was stopped, with valid checksums. The service
//! finds it although no request reads it, reports it, and ends.

use redb::{Database, ReadableTable, TableDefinition};

use super::support::bus::Bus;
use super::support::person::Person;
use super::support::service::{Service, lines};
use super::support::site::{Site, eventually};
use super::support::{CHEAP, broker};
use super::watching::{ANYWHERE, address, get, sample};

const RECORDS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("records_v1");

/// Changes the last byte of a record in the one segment of a stopped service.
fn change_record(site: &Site, position: u64) {
    let db = Database::open(site.data().join("log/00000001.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    let mut table = txn.open_table(RECORDS).unwrap();
    let mut record = table.get(position).unwrap().unwrap().value().to_vec();
    *record.last_mut().unwrap() ^= 1;
    table.insert(position, record.as_slice()).unwrap();
    drop(table);
    txn.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_record_that_no_request_reads_ends_the_service() {
    let broker = broker(None);
    let site = Site::new(CHEAP);
    let mut service = Service::start(&site, &broker.url(), &ANYWHERE);
    let bus = Bus::connect(&broker.url()).await;
    let ada = Person::with_2fa(&bus, "ada").await;
    let head = ada.vouched(&ada.codes[0]).await.position();
    service.terminate();
    assert!(service.ended().success());
    let mut service = Service::start(&site, &broker.url(), &ANYWHERE);
    eventually("the whole log was hashed again", || {
        let (_, page) = get(address(&site), "/metrics");
        sample(&page, "countersign_log_verified_through") >= head as f64
    });
    service.terminate();
    assert!(service.ended().success());
    change_record(&site, head - 1);
    let mut service = Service::spawn(&site, &broker.url(), &ANYWHERE);
    assert_eq!(service.ended().code(), Some(1));
    let place = format!("the record at position {} of the log was changed", head - 1);
    let is_alarm = |line: &String| line.contains("ALARM") && line.contains(&place);
    let (last, lines) = (lines(&site).pop().unwrap_or_default(), lines(&site));
    assert!(lines.iter().any(is_alarm), "{last}");
}
