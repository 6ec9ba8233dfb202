package bundle

// SetFreely sets how many bytes any layer may inflate to.
func (b *Bundle) SetFreely(n int64) { b.freely = n }
