//! Names of architectures: what the configuration, the log and `{arch}` call IANA's numbers.

use std::fmt;

use super::client::Arch;

/// A family of processors, as kernels are built for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// 32 and 64 bits: no loader tells them apart before it runs
    X86,
    /// ARM, 32 bits
    Arm32,
    /// ARM, 64 bits
    Arm64,
    /// RISC-V, 64 bits
    RiscV64,
    /// LoongArch, 64 bits
    LoongArch64,
}

/// As architectures are called
impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86 => "x86",
            Self::Arm32 => "arm32",
            Self::Arm64 => "arm64",
            Self::RiscV64 => "riscv64",
            Self::LoongArch64 => "loongarch64",
        })
    }
}

/// Number and name.
/// Numbers: IANA "Processor Architecture Types" (RFC 5970 §3.3 and its registry).
const NAMES: &[(Arch, &str)] = &[
    (Arch::X86_BIOS, "x86-bios"),
    (Arch::IA32_UEFI, "ia32-uefi"),
    (Arch::X64_UEFI, "x64-uefi"),
    (Arch::X64_UEFI_HTTP, "x64-uefi-http"),
    (Arch::IA32_UEFI_HTTP, "ia32-uefi-http"),
    (Arch::ARM32_UEFI, "arm32-uefi"),
    (Arch::ARM32_UEFI_HTTP, "arm32-uefi-http"),
    (Arch::ARM64_UEFI, "arm64-uefi"),
    (Arch::ARM64_UEFI_HTTP, "arm64-uefi-http"),
    (Arch(21), "arm32-u-boot"),
    (Arch::ARM64_UBOOT, "arm64-u-boot"),
    (Arch::RISCV64_UEFI, "riscv64-uefi"),
    (Arch::RISCV64_UEFI_HTTP, "riscv64-uefi-http"),
    (Arch(39), "loongarch64-uefi"),
    (Arch(40), "loongarch64-uefi-http"),
    (Arch::RPI, "rpiboot"),
];

impl Arch {
    /// The names that [`Arch::from_name`] knows
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, name)| *name)
    }

    /// The architecture of that name, or of that IANA number in decimal
    pub fn from_name(name: &str) -> Option<Self> {
        let by_name = NAMES.iter().find(|(_, known)| *known == name).map(|(arch, _)| *arch);
        by_name.or_else(|| name.parse().ok().map(Self))
    }

    /// 7 and 9 are one: RFC 4578 as first printed gave x64 the number 9, and some firmware still sends it
    #[must_use]
    pub const fn canonical(self) -> Self {
        if self.0 == Self::EBC.0 { Self::X64_UEFI } else { self }
    }

    /// BIOS, and what was there before UEFI
    pub const fn is_bios(self) -> bool {
        self.0 < Self::IA32_UEFI.0
    }

    /// The processor, where the number tells it: a Raspberry Pi runs either kind of ARM
    pub const fn cpu(self) -> Option<Cpu> {
        Some(match self.0 {
            0 | 6 | 7 | 9 | 15 | 16 | 17 | 20 => Cpu::X86,
            10 | 18 | 21 | 23 => Cpu::Arm32,
            11 | 19 | 22 | 24 => Cpu::Arm64,
            27 | 28 => Cpu::RiscV64,
            39 | 40 => Cpu::LoongArch64,
            _ => return None,
        })
    }

    /// UEFI HTTP boot: takes a URL, never a bare name
    pub const fn is_http(self) -> bool {
        matches!(self.0, 15..=20 | 23 | 24 | 26 | 28 | 30 | 38 | 40)
    }
}

/// The name, else the number
impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(arch, _)| *arch == self.canonical()) {
            Some((_, name)) => f.pad(name),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_and_written() {
        for (arch, name) in NAMES {
            assert_eq!((Arch::from_name(name), arch.to_string().as_str()), (Some(*arch), *name));
            assert_eq!(arch.is_http(), name.ends_with("-http"), "{name}");
            assert_eq!(arch.is_bios(), name.ends_with("-bios"), "{name}");
            let family = name.split('-').next().unwrap().replace("ia32", "x86").replace("x64", "x86");
            let cpu = arch.cpu().map_or("rpiboot".to_owned(), |cpu| cpu.to_string());
            assert_eq!(cpu, family, "{name}");
        }
        assert_eq!(Arch::from_name("9").map(|arch| arch.to_string()).as_deref(), Some("x64-uefi"));
        assert_eq!(Arch::from_name("31"), Some(Arch(31)));
        assert_eq!(Arch(31).to_string(), "31");
        assert_eq!(Arch::from_name("x64"), None);
    }
}
