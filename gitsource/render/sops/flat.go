package sops

import (
	"bytes"
	"fmt"
	"strings"

	"filippo.io/age"
	"go.yaml.in/yaml/v3"
)

// Dotenv decrypts a file of KEY=value lines.
func Dotenv(content []byte, ids []age.Identity) (plain []byte, secrets []string, err error) {
	type pair struct {
		line       int
		key, value string
	}
	var pairs []pair
	own := map[string]string{}
	for i, line := range strings.Split(string(content), "\n") {
		key, value, ok := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case !ok:
			return nil, nil, &Error{Line: i + 1, Message: "is not KEY=value"}
		case strings.HasPrefix(key, "sops_"):
			own[strings.TrimPrefix(key, "sops_")] = strings.ReplaceAll(value, `\n`, "\n")
		default:
			pairs = append(pairs, pair{i + 1, key, strings.ReplaceAll(value, `\n`, "\n")})
		}
	}
	o, err := newOpener(unflatten(own), ids)
	if err != nil {
		return nil, nil, unopened(err)
	}
	var out bytes.Buffer
	for _, p := range pairs {
		value, encrypted := p.value, o.encrypted([]string{p.key})
		if encrypted {
			if value, _, err = o.value([]string{p.key}, p.value); err != nil {
				return nil, nil, &Error{Line: p.line, Message: p.key + " " + err.Error()}
			}
		}
		o.count(encrypted, value)
		fmt.Fprintf(&out, "%s=%s\n", p.key, strings.ReplaceAll(value, "\n", `\n`))
	}
	if err := o.check(); err != nil {
		return nil, nil, &Error{Message: "is encrypted with SOPS, and is refused: " + err.Error()}
	}
	return out.Bytes(), o.secrets, nil
}

// unflatten reads SOPS's data from the names that it gives them in flat files.
func unflatten(own map[string]string) metadata {
	m := metadata{
		LastModified: own["lastmodified"], MAC: own["mac"], MACOnlyEncrypted: own["mac_only_encrypted"] == "true",
		UnencryptedSuffix: own["unencrypted_suffix"], EncryptedSuffix: own["encrypted_suffix"],
		UnencryptedRegex: own["unencrypted_regex"], EncryptedRegex: own["encrypted_regex"],
		UnencryptedCommentRegex: own["unencrypted_comment_regex"], EncryptedCommentRegex: own["encrypted_comment_regex"],
	}
	for i := 0; ; i++ {
		enc, ok := own[fmt.Sprintf("age__list_%d__map_enc", i)]
		if !ok {
			return m
		}
		m.Age = append(m.Age, struct {
			Recipient string `yaml:"recipient"`
			Enc       string `yaml:"enc"`
		}{own[fmt.Sprintf("age__list_%d__map_recipient", i)], enc})
	}
}

// Binary decrypts a file that SOPS has put into JSON whole.
func Binary(content []byte, ids []age.Identity) (plain []byte, secrets []string, err error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil || len(document.Content) != 1 {
		return nil, nil, &Error{Line: 1, Message: "is not understood"}
	}
	root := document.Content[0]
	if secrets, err = Documents([]*yaml.Node{root}, ids); err != nil {
		return nil, nil, err
	}
	if root.Kind != yaml.MappingNode || len(root.Content) != 2 || root.Content[0].Value != "data" || root.Content[1].Kind != yaml.ScalarNode {
		return nil, nil, &Error{Line: 1, Message: "is not what SOPS makes of a binary file"}
	}
	return []byte(root.Content[1].Value), secrets, nil
}
