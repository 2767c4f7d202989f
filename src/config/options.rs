//! `options = [{ code = 42, ip = ["192.168.99.1"] }]`: any DHCP option, but those that reveille writes itself.

use super::errors::{At, Errors};
use super::table::Table;
use super::values;

/// Why an option cannot be set by its number: reveille writes it itself
fn own(code: u8) -> Option<&'static str> {
    Some(match code {
        0 | 255 => "it is no option",
        1 | 28 => "it follows from the subnet",
        12 => "write the hostname of a [[machine]]",
        51 => "write lease = \"12h\"",
        54 | 66 => "it is the address of the interface, or the `server` of a boot rule",
        67 => "write the `file` of a [[boot]] rule",
        58 | 59 => "it follows from the lease",
        43 => "reveille composes it for PXE",
        175 => "reveille composes it for iPXE",
        50 | 52 | 53 | 55 | 57 | 60 | 61 | 77 | 82 | 93 | 94 | 97 | 118 => {
            "it belongs to the protocol itself"
        }
        _ => return None,
    })
}

/// One option
pub(super) fn read(mut table: Table<'_>, errors: &mut Errors) -> Option<At<(u8, Vec<u8>)>> {
    let place = table.place;
    let before = errors.len();
    let code = table.number::<u8>("code", errors, 1, 254);
    let forms = value(&mut table, errors);
    table.finish(errors);
    if !table.found("code") {
        errors.push(place, "an option needs its code: write { code = 26, u16 = 1400 }");
    }
    let code = code?;
    if let Some(why) = own(code.value) {
        errors.push(code.place, format!("option {} is not set by number: {why}", code.value));
        return None;
    }
    if errors.len() > before {
        return None;
    }
    let [value] = <[Vec<u8>; 1]>::try_from(forms)
        .map_err(|_| errors.push(place, "an option has one value: ip, text, hex, u8, u16 or u32"))
        .ok()?;
    if value.is_empty() || value.len() > 255 {
        errors.push(place, format!("the value takes {} bytes; an option holds 1 to 255", value.len()));
        return None;
    }
    Some(At::new((code.value, value), place))
}

/// All the forms of a value that are there: there should be one
fn value(table: &mut Table<'_>, errors: &mut Errors) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let addresses = table.strings("ip", errors, values::address);
    if !addresses.is_empty() {
        forms.push(addresses.iter().flat_map(|at| at.value.octets()).collect());
    }
    forms.extend(table.string("text", errors, |text| Ok(text.as_bytes().to_vec())).map(|at| at.value));
    forms.extend(table.string("hex", errors, values::hex).map(|at| at.value));
    forms.extend(table.number::<u8>("u8", errors, 0, u8::MAX.into()).map(|at| vec![at.value]));
    forms.extend(
        table.number::<u16>("u16", errors, 0, u16::MAX.into()).map(|at| at.value.to_be_bytes().to_vec()),
    );
    forms.extend(
        table.number::<u32>("u32", errors, 0, u32::MAX.into()).map(|at| at.value.to_be_bytes().to_vec()),
    );
    forms
}
