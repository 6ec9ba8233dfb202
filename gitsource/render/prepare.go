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
			r.encrypted(file, err)
			return nil, r
		}
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
func (r *result) encrypted(file string, err error) {
	var at *sops.Error
	p := v1alpha1.Problem{File: file, Message: err.Error()}
	if errors.As(err, &at) {
		p.Line = int32(at.Line)
		r.keyless = at.NoKey
	}
	r.problems, r.sealed = append(r.problems, p), append(r.sealed, file)
}

// identities are the age keys for a file; they are asked for once a render.
func (u *run) identities(file string) ([]age.Identity, error) {
	if u.cfg.Sealed {
		return nil, &sops.Error{Message: "is encrypted, and not looked into"}
	}
	if owner := u.cfg.Owner; owner != nil && owner(file) != "" {
		return nil, &sops.Error{Message: fmt.Sprintf("is encrypted, and belongs to %q: with the source's keys anybody's secrets could be opened, so they open none of a tenant's files", owner(file))}
	}
	if u.ids == nil {
		var ids []age.Identity
		if u.cfg.Decrypt != nil {
			var err error
			if ids, err = u.cfg.Decrypt(); err != nil {
				return nil, &sops.Error{Message: "is encrypted with SOPS, and the source's age keys cannot be read: " + err.Error(), NoKey: true}
			}
		}
		u.ids = &ids
	}
	if len(*u.ids) == 0 {
		return nil, &sops.Error{Message: "is encrypted with SOPS, and the source has no age key: name a Secret in spec.decryption.secretRef, or start the server with --age-key", NoKey: true}
	}
	return *u.ids, nil
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
				content, r.secrets, err = open(content, ids)
			}
			if err != nil {
				r.encrypted(file, err)
			}
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
