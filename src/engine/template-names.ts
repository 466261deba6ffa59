/** What the template call sets itself, or what would replace the template: chat_template_kwargs cannot set them. */
export const reservedTemplateNames: ReadonlySet<string> = new Set([
  'messages',
  'conversation',
  'tools',
  'documents',
  'chat_template',
  'add_generation_prompt',
  'continue_final_message',
  'tokenize',
  'padding',
  'truncation',
  'max_length',
  'return_tensors',
  'return_dict',
  'return_assistant_tokens_mask',
  'tokenizer_kwargs',
])
