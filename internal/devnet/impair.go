package devnet

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// Impairment is how many of a machine's packets are lost: parts of 1 of those
// that come in and go out. The zero value is a good link.
type Impairment struct{ In, Out float64 }

// The chains that lose packets, in the machine's own network, before and after
// everything that it has there itself.
const (
	lossIn  = "HWDEV-IN"
	lossOut = "HWDEV-OUT"
)

// Impair makes a machine's link lose packets, instead of those that it lost
// before.
func (n Network) Impair(machine string, i Impairment) error {
	for _, program := range []string{"iptables", "ip6tables"} {
		if err := n.impair(machine, program, i); err != nil {
			return fmt.Errorf("impair %s: %w", machine, err)
		}
	}
	return nil
}

func (n Network) impair(machine, program string, i Impairment) error {
	if err := n.tables(machine, i.script(), program+"-restore", "-w", "5", "--noflush"); err != nil {
		return err
	}
	for _, way := range []struct {
		table, from, link, chain string
		part                     float64
	}{{"raw", "PREROUTING", "-i", lossIn, i.In}, {"mangle", "POSTROUTING", "-o", lossOut, i.Out}} {
		rule := []string{"-w", "5", "-t", way.table, "-C", way.from, way.link, MachineLink, "-j", way.chain}
		there := n.tables(machine, "", append([]string{program}, rule...)...) == nil
		var err error
		switch {
		case way.part > 0 && !there:
			rule[4] = "-I"
			err = n.tables(machine, "", append([]string{program}, rule...)...)
		case way.part == 0 && there:
			rule[4] = "-D"
			err = n.tables(machine, "", append([]string{program}, rule...)...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// script fills both chains.
func (i Impairment) script() string {
	return "*raw\n:" + lossIn + " - [0:0]\n" + lose(lossIn, i.In) + "COMMIT\n*mangle\n:" + lossOut + " - [0:0]\n" + lose(lossOut, i.Out) + "COMMIT\n"
}

func lose(chain string, part float64) string {
	switch {
	case part <= 0:
		return ""
	case part >= 1:
		return "-A " + chain + " -j DROP\n"
	}
	return "-A " + chain + " -m statistic --mode random --probability " + strconv.FormatFloat(part, 'f', 6, 64) + " -j DROP\n"
}

// tables runs one of the iptables programs in a machine's network.
func (n Network) tables(machine, input string, command ...string) error {
	cmd := exec.Command("nsenter", append([]string{"--net=" + n.Path(machine)}, command...)...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
