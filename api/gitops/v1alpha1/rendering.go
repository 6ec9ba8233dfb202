package v1alpha1

// DecryptionSpec says which keys open files that were encrypted with SOPS for
// age keys. Files are decrypted in memory; for the source itself the server's
// own key (--age-key) is tried besides.
type DecryptionSpec struct {
	// SecretRef names a Secret whose values are files of age keys.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
}

// VariableType is how a variable's value is written into a file.
// +enum
type VariableType string

const (
	// VariableString is text.
	VariableString VariableType = "string"
	// VariableInteger is a whole number.
	VariableInteger VariableType = "integer"
	// VariableNumber is any number.
	VariableNumber VariableType = "number"
	// VariableBoolean is true or false.
	VariableBoolean VariableType = "boolean"
)

// Variable is a value that files of the repository may refer to.
type Variable struct {
	// Name of letters, digits and underscores.
	Name string `json:"name"`
	// Value, as text.
	Value string `json:"value"`
	// Type is what a field becomes that is nothing but an unquoted reference.
	// Default string.
	// +optional
	Type VariableType `json:"type,omitempty"`
}
