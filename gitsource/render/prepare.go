package render

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"filippo.io/age"
	"go.yaml.in/yaml/v3"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/render/sops"
	"github.com/headway-sh/headway/gitsource/render/subst"
)

// read turns the content of a file into YAML documents: decrypted where it is
// encrypted, and with the source's variables where it asks for them. What is
// wrong is in the result.
func (u *run) read(file string, content []byte) ([]*yaml.Node, *result) {
	r := &result{}
	documents, problem := decode(file, content)
	if problem != nil {
		r.problems = []v1alpha1.Problem{*problem}
		return nil, r
	}
	if sops.Encrypted(content) {
		ids, err := u.identities(file)
		if err == nil {
			r.secrets, err = sops.Documents(documents, ids)
		}
		if err != nil {
			r.encrypted(file, content, err)
			return nil, r
		}
		r.lent = u.ownerOf(file) == "" && len(r.secrets) > 0
	}
	if subst.Wanted(content) {
		for _, d := range documents {
			for _, p := range subst.Document(d, u.cfg.Variables) {
				r.problems = append(r.problems, v1alpha1.Problem{File: file, Line: int32(p.Line), Message: p.Message})
			}
		}
	}
	return documents, r
}

// encrypted notes that a file cannot be decrypted. Another key may open it.
func (r *result) encrypted(file string, content []byte, err error) {
	var at *sops.Error
	p := v1alpha1.Problem{File: file, Message: err.Error()}
	if errors.As(err, &at) {
		p.Line = int32(at.Line)
		r.keyless = at.NoKey
	}
	if p.Line == 0 {
		p.Line = lineOfSOPS(content)
	}
	r.problems, r.sealed = append(r.problems, p), append(r.sealed, file)
}

// lineOfSOPS is where a file says that it is encrypted.
func lineOfSOPS(content []byte) int32 {
	line := int32(1)
	for text := range bytes.Lines(content) {
		if text = bytes.TrimLeft(text, " \t\""); bytes.HasPrefix(text, []byte("sops:")) || bytes.HasPrefix(text, []byte("sops\"")) || bytes.HasPrefix(text, []byte("sops_")) {
			return line
		}
		line++
	}
	return 1
}

// ownerOf is whose a file is; empty: nobody's in particular.
func (u *run) ownerOf(file string) string {
	if u.cfg.Owner == nil {
		return ""
	}
	return u.cfg.Owner(file)
}

// identities are the age keys for a file: of the tenant whom it belongs to his
// own and no others, so that nobody can have another's secrets opened. They are
// asked for once a render.
func (u *run) identities(file string) ([]age.Identity, error) {
	if u.cfg.Sealed {
		return nil, &sops.Error{Message: "is encrypted, and not looked into"}
	}
	owner := u.ownerOf(file)
	ids, asked := u.ids[owner]
	if !asked {
		if u.cfg.Decrypt != nil {
			var err error
			if ids, err = u.cfg.Decrypt(owner); err != nil {
				return nil, &sops.Error{Message: fmt.Sprintf("is encrypted with SOPS, and %s age keys cannot be read: %v", whose(owner), err), NoKey: true}
			}
		}
		if u.ids == nil {
			u.ids = map[string][]age.Identity{}
		}
		u.ids[owner] = ids
	}
	switch {
	case len(ids) > 0:
		return ids, nil
	case owner != "":
		return nil, &sops.Error{Message: fmt.Sprintf("is encrypted, and belongs to the tenant %q, who has no age key: the source's keys open none of a tenant's files; "+
			"name a Secret with his in decryption.secretRef of the tenant", owner)}
	}
	return nil, &sops.Error{Message: "is encrypted with SOPS, and the source has no age key: name a Secret in spec.decryption.secretRef, or start the server with --age-key", NoKey: true}
}

func whose(owner string) string {
	if owner == "" {
		return "the source's"
	}
	return fmt.Sprintf("the tenant %q's", owner)
}

// plain is a file's content for who reads it whole (kustomize, charts). What is
// neither encrypted nor asks for variables is given back as it is.
func (u *run) plain(file string, content []byte, variables bool) ([]byte, *result) {
	encrypted := sops.Encrypted(content)
	if !encrypted && !(variables && subst.Wanted(content)) {
		return content, &result{}
	}
	if encrypted {
		if open := whole(file, content); open != nil {
			r := &result{}
			ids, err := u.identities(file)
			if err == nil {
				encrypted := content
				if content, r.secrets, err = open(encrypted, ids); err != nil {
					content = encrypted
				}
			}
			if err != nil {
				r.encrypted(file, content, err)
			}
			r.lent = u.ownerOf(file) == "" && len(r.secrets) > 0
			return content, r
		}
	}
	documents, r := u.read(file, content)
	if len(r.problems) > 0 {
		return nil, r
	}
	out, err := encode(file, documents)
	if err != nil {
		r.problems = []v1alpha1.Problem{{File: file, Message: "cannot be written again: " + err.Error()}}
	}
	return out, r
}

// whole is how a file is decrypted that SOPS does not take for YAML or JSON.
func whole(file string, content []byte) func([]byte, []age.Identity) ([]byte, []string, error) {
	switch path.Ext(file) {
	case ".yaml", ".yml", ".json":
		return nil
	}
	switch {
	case bytes.Contains(content, []byte("\nsops_mac=")):
		return sops.Dotenv
	case bytes.HasPrefix(bytes.TrimSpace(content), []byte("{")):
		return sops.Binary
	}
	return nil
}

// encode writes documents in the form that a file has.
func encode(file string, documents []*yaml.Node) ([]byte, error) {
	if path.Ext(file) == ".json" && len(documents) == 1 {
		budget := maxNodes
		value, err := (&converter{budget: &budget}).value(documents[0], 0)
		if err != nil {
			return nil, err
		}
		return json.MarshalIndent(value, "", "  ")
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	for _, d := range documents {
		if err := encoder.Encode(d); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), encoder.Close()
}

// Redact takes out of a message what was encrypted in the commit.
func (s *Set) Redact(text string) string {
	if s == nil {
		return text
	}
	return redact(text, s.secrets)
}

func redact(text string, secrets []string) string {
	for _, secret := range secrets {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
			text = strings.ReplaceAll(text, form, "(encrypted)")
		}
	}
	return text
}
