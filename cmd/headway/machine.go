package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// needed are the programs that a node cannot do without, and the packages of
// Debian and Ubuntu that have them.
var needed = []struct{ program, pkg string }{
	{"containerd", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"iptables-restore", "iptables"},
	{"nsenter", "util-linux"},
}

// checkMachine tells what keeps this machine from being a node.
func checkMachine(look func(string) (string, error), uid int) error {
	if uid != 0 {
		return errors.New("a node needs root: run it again with sudo")
	}
	var missing, packages []string
	for _, n := range needed {
		if _, err := look(n.program); err == nil {
			continue
		}
		missing = append(missing, n.program)
		if len(packages) == 0 || packages[len(packages)-1] != n.pkg {
			packages = append(packages, n.pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this machine lacks %s; on Debian and Ubuntu: apt-get install %s", strings.Join(missing, ", "), strings.Join(packages, " "))
	}
	return nil
}

func checkThisMachine() error { return checkMachine(exec.LookPath, os.Geteuid()) }
