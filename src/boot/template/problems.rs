//! What machines that the configuration names would not get: every text is made once before anybody asks.

use super::super::plan::{Machine, Name, Plan, Who};
use super::TemplateError;

/// A text that cannot be made for a machine
#[derive(Clone, Debug)]
pub struct Problem {
    /// The machine, an index into the plan's
    pub machine: usize,
    /// Its name, for people
    pub name: String,
    /// The template
    pub template: String,
    /// Why
    pub error: TemplateError,
}

/// The texts that cannot be made: `asked` are those that the arguments of the machine's kernel name, else those that no
/// argument of any machine names, of which nobody knows whose they are. `image_args` are the arguments of the image of that name.
pub fn problems(plan: &Plan, image_args: &dyn Fn(&str) -> Option<String>, asked: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let machines = || plan.machines().iter().enumerate();
    for set in plan.templates().sets() {
        let is_named = |machine: &Machine| names(plan, machine, &set.name, image_args);
        if !asked && machines().any(|(_, machine)| is_named(machine)) {
            continue;
        }
        for (index, machine) in machines().filter(|(_, machine)| !asked || is_named(machine)) {
            let Some(who) = who(plan, machine) else { continue };
            let name = machine.name();
            for path in set.paths("") {
                let Some(text) = plan.templates().find(&path) else { continue };
                let rendered = plan.templates().render(&text, plan, &who, image_args);
                if let Err(error) = rendered {
                    let (name, template) = (name.clone(), set.name.clone());
                    problems.push(Problem { machine: index, name, template, error });
                }
            }
        }
    }
    problems
}

fn who<'p>(plan: &'p Plan, machine: &'p Machine) -> Option<Who<'p>> {
    let Machine { mac, uuid, serial, address, .. } = machine;
    let by_serial = || serial.as_deref().map(Name::Serial);
    let name = mac.map(Name::Mac).or(uuid.map(Name::Uuid)).or_else(by_serial)?;
    let who = plan.who(name, *address)?;
    // Who asks has an address; which one, only a lease will tell.
    let ip = who.ip.or(plan.networks()[who.network].subnets.first().map(|subnet| subnet.cidr.address));
    Some(Who { ip, ..who })
}

/// Whether the arguments of the machine's kernel have a path of the template
fn names(
    plan: &Plan,
    machine: &Machine,
    template: &str,
    image_args: &dyn Fn(&str) -> Option<String>,
) -> bool {
    let Some(assigned) = who(plan, machine).and_then(|who| plan.image_of(&who)) else { return false };
    let own = assigned.args.as_deref().unwrap_or_default();
    let image = image_args(&assigned.image).unwrap_or_default();
    [own, &image].iter().any(|args| {
        args.split(&format!("/{template}"))
            .skip(1)
            .any(|after| after.is_empty() || after.starts_with(['/', '.', ' ', ';']))
    })
}
