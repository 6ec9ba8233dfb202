package gitsource_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
)

func (s *story) keyOf(name string) string { return filepath.Join(s.dir, "key-"+name) }

func (s *story) makeSigner(_ *testscript.TestScript, args []string) error {
	out, err := exec.CommandContext(s.t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", args[0], "-f", s.keyOf(args[0])).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	return nil
}

// signAs has git itself sign every commit and tag.
func (s *story) signAs(_ *testscript.TestScript, args []string) error {
	on := fmt.Sprint(args[0] != "nobody")
	for _, c := range [][]string{{"gpg.format", "ssh"}, {"user.signingkey", s.keyOf(args[0])}, {"commit.gpgsign", on}, {"tag.gpgsign", on}} {
		if out, err := s.tryGit(s.work(), append([]string{"config"}, c...)...); err != nil {
			return fmt.Errorf("git config: %w: %s", err, out)
		}
	}
	return nil
}

// allow writes a list of allowed signers.
func (s *story) allow(_ *testscript.TestScript, args []string) error {
	var lines []string
	for _, line := range args[1:] {
		at := strings.LastIndex(line, " ")
		key, err := os.ReadFile(s.keyOf(line[at+1:]) + ".pub")
		if err != nil {
			return err
		}
		lines = append(lines, line[:at]+" "+strings.TrimSpace(string(key)))
	}
	r := ref("configmaps", "default/"+args[0])
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: args[0]}, Data: map[string]string{"allowed_signers": strings.Join(lines, "\n")}}
	verb := txn.Create
	if s.get(r) != nil {
		verb = txn.Update
	}
	_, err := s.store.Do(s.t.Context(), admin, txn.Change{Verb: verb, Ref: r, Object: o})
	return err
}
