package encryption

import (
	"bytes"
	"crypto/aes"
	"encoding/base64"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	internal "k8s.io/apiserver/pkg/apis/apiserver"
	configv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"
	"sigs.k8s.io/yaml"
)

// ErrKMS says that a configuration names a key management service.
var ErrKMS = errors.New("kms providers are not supported yet: use secretbox, aesgcm or aescbc")

// sealedPrefix is what every sealed value begins with.
var sealedPrefix = []byte("k8s:enc:")

// rules are a configuration in working order. They never change.
type rules struct {
	lists []list
	text  []byte // what they were made of, to see whether a file has changed
}

// list has the resources that share one row of providers.
type list struct {
	resources []schema.GroupResource
	providers []value.PrefixTransformer // the first one seals
	opener    value.Transformer
}

// parse reads an EncryptionConfiguration of apiserver.config.k8s.io/v1.
func parse(text []byte) (*rules, error) {
	var config configv1.EncryptionConfiguration
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return nil, err
	}
	if got := config.GroupVersionKind(); got != configv1.SchemeGroupVersion.WithKind("EncryptionConfiguration") {
		return nil, fmt.Errorf("it is a %s, want EncryptionConfiguration of %s", got, configv1.SchemeGroupVersion)
	}
	for _, r := range config.Resources {
		for _, p := range r.Providers {
			if p.KMS != nil {
				return nil, ErrKMS
			}
		}
	}
	var check internal.EncryptionConfiguration
	if err := configv1.Convert_v1_EncryptionConfiguration_To_apiserver_EncryptionConfiguration(&config, &check, nil); err != nil {
		return nil, err
	}
	if errs := validation.ValidateEncryptionConfiguration(&check, true); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	out := &rules{text: bytes.Clone(text)}
	for _, r := range config.Resources {
		l := list{}
		for _, name := range r.Resources {
			l.resources = append(l.resources, schema.ParseGroupResource(name))
		}
		for _, p := range r.Providers {
			made, err := transformers(&p)
			if err != nil {
				return nil, err
			}
			l.providers = append(l.providers, made...)
		}
		l.opener = value.NewPrefixTransformers(errNoKey, l.providers...)
		out.lists = append(out.lists, l)
	}
	return out, nil
}

// transformers are those of one provider, one for each of its keys.
func transformers(p *configv1.ProviderConfiguration) ([]value.PrefixTransformer, error) {
	switch {
	case p.AESCBC != nil:
		return keyed("aescbc", p.AESCBC.Keys, func(key []byte) (value.Transformer, error) {
			block, err := aes.NewCipher(key)
			if err != nil {
				return nil, err
			}
			return aestransformer.NewCBCTransformer(block), nil
		})
	case p.AESGCM != nil:
		return keyed("aesgcm", p.AESGCM.Keys, func(key []byte) (value.Transformer, error) {
			block, err := aes.NewCipher(key)
			if err != nil {
				return nil, err
			}
			return aestransformer.NewGCMTransformer(block)
		})
	case p.Secretbox != nil:
		return keyed("secretbox", p.Secretbox.Keys, func(key []byte) (value.Transformer, error) {
			return secretbox.NewSecretboxTransformer([32]byte(key)), nil
		})
	}
	return []value.PrefixTransformer{{Transformer: identity.NewEncryptCheckTransformer()}}, nil
}

func keyed(provider string, keys []configv1.Key, build func([]byte) (value.Transformer, error)) ([]value.PrefixTransformer, error) {
	out := make([]value.PrefixTransformer, len(keys))
	for i, k := range keys {
		secret, err := base64.StdEncoding.DecodeString(k.Secret)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.Name, err)
		}
		transformer, err := build(secret)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.Name, err)
		}
		out[i] = value.PrefixTransformer{Prefix: []byte("k8s:enc:" + provider + ":v1:" + k.Name + ":"), Transformer: transformer}
	}
	return out, nil
}

// of finds the providers of a resource, or nil: the first list wins that names
// the resource, its group ("*.apps") or everything ("*.*").
func (r *rules) of(resource schema.GroupResource) *list {
	for i := range r.lists {
		for _, named := range r.lists[i].resources {
			if named == resource || named.Resource == "*" && (named.Group == resource.Group || named.Group == "*") {
				return &r.lists[i]
			}
		}
	}
	return nil
}

// current is the prefix that values sealed now have; empty: they are plain.
func (l *list) current() []byte {
	if l == nil {
		return nil
	}
	return l.providers[0].Prefix
}
