/* What ACPI says of this machine where it is always the same; compiled by iasl when the program is built, after the C
 * preprocessor. Processors are in the MADT (acpi_tables.c).
 *
 * SeaBIOS reads it, too, to learn which ISA devices there are, and knows little of the language: no External (so no
 * SSDT), no 64-bit constants, and no Create...Field outside of methods.
 *
 * The numbers are those of piix3.h, piix4_pm.h and pci_hotplug.h. Pin p (from 0) of slot s is PIRQ (s + p - 1) % 4.
 * Source: ACPI 6.4 ch. 5.3, 6 and 19. */
DefinitionBlock ("", "DSDT", 2, "DROVER", "DROVERPC", 1)
{
    Name (\_S5, Package () { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)

            /* Numbers that acpi_tables.c puts in: where the window below FEC00000h starts; start and end of the one
             * above 4 GiB, in GiB, both 0 if there is none. */
            Name (P32B, 0xE0000000)
            Name (P64B, 0x20000000)
            Name (P64E, 0x30000000)

            Method (_CRS, 0, Serialized)
            {
                Name (CRES, ResourceTemplate ()
                {
                    WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                    IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                    WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0, 0x0CF7, 0, 0x0CF8)
                    WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0D00, 0xFFFF, 0, 0xF300)
                    DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite, 0, 0x000A0000,
                        0x000BFFFF, 0, 0x00020000)
                    DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0,
                        0xE0000000, 0xFEBFFFFF, 0, 0x1EC00000, , , W32)
                })
                Name (CR64, ResourceTemplate ()
                {
                    QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite, 0, 0x8000000000,
                        0x8FFFFFFFFF, 0, 0x1000000000, , , W64)
                })
                CreateDWordField (CRES, W32._MIN, W32B)
                CreateDWordField (CRES, W32._MAX, W32E)
                CreateDWordField (CRES, W32._LEN, W32L)
                W32B = P32B
                W32L = W32E - W32B + 1
                If (P64E == 0)
                {
                    Return (CRES)
                }
                CreateQWordField (CR64, W64._MIN, W64B)
                CreateQWordField (CR64, W64._MAX, W64E)
                CreateQWordField (CR64, W64._LEN, W64L)
                W64B = P64B << 30
                W64E = (P64E << 30) - 1
                W64L = W64E - W64B + 1
                Return (ConcatenateResTemplate (CRES, CR64))
            }

#define PINS(slot, a, b, c, d)                                                                                         \
    Package () { (slot << 16) | 0xFFFF, 0, a, 0 }, Package () { (slot << 16) | 0xFFFF, 1, b, 0 },                      \
    Package () { (slot << 16) | 0xFFFF, 2, c, 0 }, Package () { (slot << 16) | 0xFFFF, 3, d, 0 }
#define FOUR_SLOTS(slot)                                                                                               \
    PINS (slot, LNKD, LNKA, LNKB, LNKC), PINS ((slot + 1), LNKA, LNKB, LNKC, LNKD),                                    \
    PINS ((slot + 2), LNKB, LNKC, LNKD, LNKA), PINS ((slot + 3), LNKC, LNKD, LNKA, LNKB)
            Name (_PRT, Package ()
            {
                FOUR_SLOTS (0), FOUR_SLOTS (4), FOUR_SLOTS (8), FOUR_SLOTS (12),
                FOUR_SLOTS (16), FOUR_SLOTS (20), FOUR_SLOTS (24), FOUR_SLOTS (28)
            })

            /* Hot-plug: see pci_hotplug.h. */
            OperationRegion (HPRG, SystemIO, 0xAE00, 20)
            Field (HPRG, DWordAcc, NoLock, WriteAsZeros)
            {
                HPUP, 32,
                HPDN, 32,
                HPEJ, 32
            }
            Mutex (HPLK, 0)
            Method (EJCT, 1, NotSerialized)
            {
                Acquire (HPLK, 0xFFFF)
                HPEJ = 1 << Arg0
                Release (HPLK)
            }

#define SLOT(name, slot)                                                                                               \
    Device (name)                                                                                                      \
    {                                                                                                                  \
        Name (_ADR, slot << 16)                                                                                        \
        Name (_SUN, slot)                                                                                              \
        Method (_EJ0, 1, NotSerialized) { EJCT (slot) }                                                                \
    }
            SLOT (S02, 2) SLOT (S03, 3) SLOT (S04, 4) SLOT (S05, 5) SLOT (S06, 6) SLOT (S07, 7) SLOT (S08, 8)
            SLOT (S09, 9) SLOT (S10, 10) SLOT (S11, 11) SLOT (S12, 12) SLOT (S13, 13) SLOT (S14, 14) SLOT (S15, 15)
            SLOT (S16, 16) SLOT (S17, 17) SLOT (S18, 18) SLOT (S19, 19) SLOT (S20, 20) SLOT (S21, 21) SLOT (S22, 22)
            SLOT (S23, 23) SLOT (S24, 24) SLOT (S25, 25) SLOT (S26, 26) SLOT (S27, 27) SLOT (S28, 28) SLOT (S29, 29)
            SLOT (S30, 30) SLOT (S31, 31)

#define TELL(name, slot)                                                                                               \
    If (Local0 & (1 << slot)) { Notify (name, 1) }                                                                     \
    If (Local1 & (1 << slot)) { Notify (name, 3) }
            Method (HPEV, 0, Serialized)
            {
                Acquire (HPLK, 0xFFFF)
                Local0 = HPUP
                Local1 = HPDN
                TELL (S02, 2) TELL (S03, 3) TELL (S04, 4) TELL (S05, 5) TELL (S06, 6) TELL (S07, 7) TELL (S08, 8)
                TELL (S09, 9) TELL (S10, 10) TELL (S11, 11) TELL (S12, 12) TELL (S13, 13) TELL (S14, 14) TELL (S15, 15)
                TELL (S16, 16) TELL (S17, 17) TELL (S18, 18) TELL (S19, 19) TELL (S20, 20) TELL (S21, 21)
                TELL (S22, 22) TELL (S23, 23) TELL (S24, 24) TELL (S25, 25) TELL (S26, 26) TELL (S27, 27)
                TELL (S28, 28) TELL (S29, 29) TELL (S30, 30) TELL (S31, 31)
                Release (HPLK)
            }

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (ROUT, PCI_Config, 0x60, 4)
                Field (ROUT, ByteAcc, NoLock, Preserve)
                {
                    RTA, 8,
                    RTB, 8,
                    RTC, 8,
                    RTD, 8
                }

                Device (CLK)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x70, 0x70, 1, 2) IRQNoFlags () { 8 } })
                }
                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x60, 0x60, 1, 1)
                        IO (Decode16, 0x64, 0x64, 1, 1)
                        IRQNoFlags () { 1 }
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_CRS, ResourceTemplate () { IRQNoFlags () { 12 } })
                }
                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 1)
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x03F8, 0x03F8, 1, 8) IRQNoFlags () { 4 } })
                }
                Device (PVPN) /* see pvpanic.h */
                {
                    Name (_HID, "QEMU0001")
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0505, 0x0505, 1, 1) })
                }
                Device (MBRD) /* ports of the board that no PCI device may take */
                {
                    Name (_HID, EisaId ("PNP0C02"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x00B2, 0x00B2, 1, 2)
                        IO (Decode16, 0x0510, 0x0510, 1, 12)
                        IO (Decode16, 0x0600, 0x0600, 1, 64)
                        IO (Decode16, 0xAE00, 0xAE00, 1, 20)
                    })
                }
            }
        }

#define LINK(name, uid, reg)                                                                                           \
    Device (name)                                                                                                      \
    {                                                                                                                  \
        Name (_HID, EisaId ("PNP0C0F"))                                                                                \
        Name (_UID, uid)                                                                                               \
        Name (_PRS, ResourceTemplate ()                                                                                \
        {                                                                                                              \
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 }                                      \
        })                                                                                                             \
        Method (_STA, 0, NotSerialized)                                                                                \
        {                                                                                                              \
            If (^^PCI0.ISA.reg & 0x80) { Return (0x09) }                                                               \
            Return (0x0B)                                                                                              \
        }                                                                                                              \
        Method (_DIS, 0, NotSerialized) { ^^PCI0.ISA.reg |= 0x80 }                                                     \
        Method (_CRS, 0, Serialized)                                                                                   \
        {                                                                                                              \
            Name (CRES, ResourceTemplate ()                                                                            \
            {                                                                                                          \
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared, , , IRQ) { 0 }                                 \
            })                                                                                                         \
            CreateDWordField (CRES, IRQ._INT, LINE)                                                                    \
            LINE = 0                                                                                                   \
            If (^^PCI0.ISA.reg < 0x80) { LINE = ^^PCI0.ISA.reg }                                                       \
            Return (CRES)                                                                                              \
        }                                                                                                              \
        Method (_SRS, 1, NotSerialized)                                                                                \
        {                                                                                                              \
            CreateDWordField (Arg0, 5, WANT)                                                                           \
            ^^PCI0.ISA.reg = WANT                                                                                      \
        }                                                                                                              \
    }
        LINK (LNKA, 1, RTA)
        LINK (LNKB, 2, RTB)
        LINK (LNKC, 3, RTC)
        LINK (LNKD, 4, RTD)
    }

    Scope (\_GPE)
    {
        Method (_E01, 0, NotSerialized) { \_SB.PCI0.HPEV () }
    }
}
